"""The results of a search: those of its trials, the best of them, and the files that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from shiftlab import files
from shiftlab.reports import blocks

SHOWN = 12  # trials in the picture: one with all of a hundred can't be read


@dataclass(frozen=True)
class TrialResult:
    """A recipe that a model was trained with, and its outcome."""

    experiment: str
    schedule: str  # of the learning rate
    lr: float
    batch_size: int
    epochs: int
    initialisation: str | None  # of the weights; None: PyTorch's
    seeds: int  # how many it was trained with; what follows are means over them
    accuracy: float  # on validation images, of the best epoch
    shifted: float | None  # on the same, each moved by up to 5 pixels as in PROTOCOL.md's `random5`
    seconds: float  # of training, by what an epoch takes with nothing beside it

    def __str__(self) -> str:
        initialisation = f", {self.initialisation}" if self.initialisation else ""
        return f"{self.schedule}, lr {self.lr:.4g}, batch {self.batch_size}, {self.epochs} epochs{initialisation}"

    @property
    def values(self) -> list[float]:
        """The objectives, which the search maximises."""
        return [self.accuracy] if self.shifted is None else [self.accuracy, self.shifted]

    def in_words(self) -> str:
        """Return outcome and recipe as a sentence's part."""
        shifted = "" if self.shifted is None else f", shifted {self.shifted:.2%},"
        return f"{self.accuracy:.2%}{shifted} in {self.seconds:.1f} s ({self})"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search."""

    name: str
    baseline: TrialResult  # of the recipe that the model has
    trials: Sequence[TrialResult]  # those that were not pruned, the most accurate first
    pruned: int
    finalists: Sequence[TrialResult]  # the best trials, with all seeds
    best: Sequence[TrialResult]  # of the finalists one; with two objectives those that none beats in both

    def __str__(self) -> str:
        """The baseline and the best, as a table in Markdown."""
        header = ["experiment", "recipe", "validation", "validation, shifted", "training", "times faster"]
        rows = []
        for result in (self.baseline, *self.best):
            shifted = "" if result.shifted is None else f"{result.shifted:.2%}"
            speed = [f"{result.seconds:.1f} s", f"{self.baseline.seconds / result.seconds:.1f}"]
            rows.append([result.experiment, str(result), f"{result.accuracy:.2%}", shifted, *speed])
        return blocks.Table(header, rows).markdown().rstrip()


def write(result: SearchResult, folder: Path) -> None:
    """Write search.md, recipes.csv and search.png.

    Raises:
        OSError: as `files.write`.
    """
    from shiftlab.reports import primitives

    baseline, finalists = result.baseline, result.finalists
    header = [field.name for field in fields(TrialResult)]
    files.write(folder / "recipes.csv", files.table(header, map(astuple, (baseline, *result.trials, *finalists))))
    count = f"{result.name}: {len(result.trials)} trials, and {result.pruned} given up"
    files.write(folder / "search.md", f"{count}. First the recipe that the model has.\n\n{result}\n")
    marks: Mapping[str, str] = {baseline.experiment: "now", **{best.experiment: "BEST" for best in result.best}}
    points = []
    for shown in (baseline, *result.trials[:SHOWN], *finalists):
        across = shown.seconds if shown.shifted is None else shown.shifted
        label = f"{marks.get(shown.experiment, shown.experiment.split('-', 3)[-1])}: {shown}"
        points.append(primitives.Point(label, (across,) * 3, (shown.accuracy,) * 3, shown.lr))
    x_label = "training (s)" if baseline.shifted is None else "accuracy on shifted validation images"
    title = f"{count}. The recipe now, the most accurate trials, and the finalists with all seeds"
    picture = primitives.scatter(points, x_label, "accuracy on validation images", "learning rate", title)
    files.write(folder / "search.png", picture)
