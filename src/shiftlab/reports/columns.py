"""What models and data sets are called where people read of them."""

from shiftlab.data import sources

# Models as people know them; others go by their architecture's name.
MODELS = {"mlp": "MLP", "lenet": "LeNet-5", "resnet": "ResNet-18", "invariant": "InvariantNet"}


def data_name(data: str) -> str:
    """Return the data set as people know it; what is a source's in another form says so in brackets."""
    source, _, form = data.partition("_")
    label = sources.get(source).label if source in sources.names() else source
    return f"{label} ({form.replace('_', ' ')})" if form else label
