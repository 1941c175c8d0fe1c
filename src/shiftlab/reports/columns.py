"""What models, and the metrics of the grid, are called where people read of them."""

from math import inf, sqrt
from typing import NamedTuple

from shiftlab.data import sources


class Column(NamedTuple):
    """A metric in the tables."""

    words: str  # {}: the pixels of the robust accuracy
    percent: bool = True
    limits: tuple[float, float] = (0.0, 1.0)  # the least and the greatest value it can have


SUMMARY = {
    "grid": Column("accuracy over the grid"),
    "consistency": Column("consistency"),
    "consistency_by_chance": Column("consistency by chance"),
    "corrected_consistency": Column("corrected consistency", limits=(-inf, 1.0)),
    "pairwise_accuracy": Column("pairwise_accuracy"),
    "agreement": Column("agreement with unshifted"),
    "robust_accuracy": Column("robust accuracy within {} px"),
    "euclidean": Column("sensitivity (L2)", percent=False, limits=(0.0, sqrt(2))),
    "cosine": Column("sensitivity (cosine)", percent=False),
}

# Models as people know them; others go by their architecture's name.
MODELS = {"mlp": "MLP", "lenet": "LeNet-5", "resnet": "ResNet-18", "invariant": "InvariantNet"}


def data_name(data: str) -> str:
    """Return the data set as people know it; what is a source's in another form says so in brackets."""
    source, _, form = data.partition("_")
    label = sources.get(source).label if source in sources.names() else source
    return f"{label} ({form.replace('_', ' ')})" if form else label
