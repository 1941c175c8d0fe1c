"""What each figure of the grid is called where people read it."""

from typing import NamedTuple


class Column(NamedTuple):
    """A figure in the tables."""

    words: str  # {}: the pixels of the worst case
    percent: bool = True


SUMMARY = {
    "grid": Column("accuracy over the grid"),
    "consistency": Column("consistency"),
    "chance_consistency": Column("consistency by chance"),
    "corrected_consistency": Column("corrected consistency"),
    "fidelity": Column("fidelity"),
    "agreement": Column("agreement with unshifted"),
    "worst_case": Column("worst case within {} px"),
    "euclidean": Column("sensitivity (L2)", percent=False),
    "cosine": Column("sensitivity (cosine)", percent=False),
}
