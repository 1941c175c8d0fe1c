"""Names of models and data sets in reports."""

from shiftlab.data import sources

MODELS = {
    "mlp": "MLP",
    "lenet": "LeNet-5",
    "lenet_shifts": "LeNet-5 (moved images)",
    "resnet": "ResNet-18",
    "invariant": "InvariantNet",
}


def model_name(model: str) -> str:
    """Return a model as people know it; others than the project's go by their architecture's name."""
    return MODELS.get(model, model)


def data_name(data: str) -> str:
    """Return the data set as people know it; what is a source's in another form says so in brackets."""
    source, _, form = data.partition("_")
    label = sources.get(source).label if source in sources.names() else source
    return f"{label} ({form.replace('_', ' ')})" if form else label
