"""What a search tries and finds: recipes, which of them are best, and the files that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from shiftlab import files

DRAWN = 12  # trials: a picture with all of a hundred can't be read


@dataclass(frozen=True)
class Recipe:
    """What a model is trained with, and what came of it."""

    experiment: str
    schedule: str  # of the learning rate: one of `training.RECIPES`
    lr: float
    batch_size: int
    epochs: int
    initialisation: str | None  # of the weights; None: PyTorch's
    seeds: int  # how many it was trained with; what follows are means over them
    accuracy: float  # on validation images, of the best epoch
    shifted: float | None  # on the same, each moved by up to 5 pixels as in PROTOCOL.md's `random5`
    seconds: float  # of training, by what an epoch takes with nothing beside it

    def __str__(self) -> str:
        own = f", {self.initialisation}" if self.initialisation else ""
        return f"{self.schedule}, lr {self.lr:.4g}, batch {self.batch_size}, {self.epochs} epochs{own}"

    @property
    def settings(self) -> dict[str, object]:
        """By their names in params.yaml."""
        own = {name: getattr(self, name) for name in ("lr", "batch_size", "epochs", "initialisation")}
        return {"recipe": self.schedule, **own}


@dataclass(frozen=True)
class Found:
    """What a search has come to."""

    name: str
    now: Recipe  # the one that the model has
    trials: list[Recipe]  # those that were not given up
    given_up: int
    finalists: list[Recipe]  # the best trials, with all seeds
    best: list[Recipe]  # of those one; where two things are looked for, those that none beats

    def __str__(self) -> str:
        """The recipe now and the best, as a table in Markdown."""
        head = ["experiment", "recipe", "validation", "validation, shifted", "training", "times faster"]
        rows = [head, ["---"] * len(head)]
        for one in (self.now, *self.best):
            shifted = "" if one.shifted is None else f"{one.shifted:.2%}"
            speed = [f"{one.seconds:.1f} s", f"{self.now.seconds / one.seconds:.1f}"]
            rows.append([one.experiment, str(one), f"{one.accuracy:.2%}", shifted, *speed])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def most_accurate_first(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Of equals the fastest."""
    return sorted(recipes, key=lambda one: (-one.accuracy, one.seconds))


def best_of(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The most accurate, of equals the fastest; where shifted images count too, those that no other beats in both."""
    ordered = most_accurate_first(recipes)
    if ordered[0].shifted is None:
        return ordered[:1]
    front: list[Recipe] = []
    for one in ordered:
        if not front or one.shifted > front[-1].shifted:  # type: ignore[operator]
            front.append(one)
    return front


def write(found: Found, folder: Path) -> None:
    """Write search.md, recipes.csv and search.png.

    Raises:
        OSError: as `files.write`.
    """
    from shiftlab.reports import primitives

    every = (found.now, *found.trials, *found.finalists)
    header = [field.name for field in fields(Recipe)]
    files.write(folder / "recipes.csv", files.table(header, map(astuple, every)))
    count = f"{found.name}: {len(found.trials)} trials, and {found.given_up} given up"
    files.write(folder / "search.md", f"{count}. First the recipe that the model has.\n\n{found}\n")
    points = []
    for one in (found.now, *most_accurate_first(found.trials)[:DRAWN], *found.finalists):
        what = one.seconds if one.shifted is None else one.shifted
        mark = "now" if one is found.now else "BEST" if one in found.best else one.experiment.split("-", 3)[-1]
        points.append(primitives.Point(f"{mark}: {one}", (what,) * 3, (one.accuracy,) * 3, one.lr))
    across = "training (s)" if found.now.shifted is None else "accuracy on shifted validation images"
    title = f"{count}. The recipe now, the most accurate trials, and the finalists with all seeds"
    drawn = primitives.scatter(points, across, "accuracy on validation images", "learning rate", title)
    files.write(folder / "search.png", drawn)
