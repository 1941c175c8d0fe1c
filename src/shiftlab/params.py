"""Typed, strict parameters: params.yaml in, frozen objects out.

`conf/` says what an experiment can choose, DVC composes params.yaml from it, and this module refuses what it
doesn't know before anything is done with it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shiftlab.errors import UserError
from shiftlab.models import architectures

SourceName = Literal["mnist", "fashion", "digits", "folder"]
RegimeName = Literal["zero", "circular", "crop"]
RecipeName = Literal["notebook", "fast"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
TrackingChoice = Literal["required", "optional"]


def _known_model(name: str) -> str:
    if name not in architectures.names():
        known = ", ".join(architectures.names())
        raise ValueError(f"no model {name!r} in src/shiftlab/models/architectures, only {known}")
    return name


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"they must differ from one another, not be {values}")
    return values


PUBLISHED_SIZE = 28  # pixels a side, of every source but a folder
MOST_PIXELS = 127  # of a shift along an axis: shifts are kept in 8 bits
NAMED_REACH = 5  # pixels, of the named evaluation sets
MIN_SAMPLE = 16  # shifts drawn from a grid, or there is nothing to say how sure a mean over them is
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# So many images, or such a share of them.
Part = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)]
_Side = Annotated[int, Field(gt=0)]
# [height, width] in YAML
Size = Annotated[tuple[_Side, _Side], Field(strict=False)]
ModelName = Annotated[str, AfterValidator(_known_model)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Strict):
    """What is learned and tested on. Sizes are [height, width] in pixels."""

    name: str  # the source's, or one that begins with it: results never stand under another source's name
    source: SourceName
    path: str  # what the images are made from: a folder of the user's, or the code that gets them
    mirrors: list[str]  # addresses of folders that hold the published files; tried before torchvision's own
    test: Part | None  # split off as test images; null where the source has some of its own
    validation: Part  # split off the training images
    split_seed: Seed
    channels: Literal[1, 3] | None  # of a folder's images: 1 makes them grey; null: 3 if one has colours
    resize: Annotated[int, Field(gt=0)] | None  # a folder's images to so many pixels along the shorter side
    crop: Size | None  # to the middle of a folder's images, after that
    frame: Size | None  # the middle that models see; what is around it is for the regime `crop`. null: all
    # Pixels a side of the black canvas that images lie on, null for none; even, so that there is a middle.
    canvas: int | None = Field(ge=PUBLISHED_SIZE, multiple_of=2, le=2 * MOST_PIXELS)
    placement: Literal["centred", "random"]  # on the canvas, of training and validation images; test images: centred

    @property
    def stored(self) -> tuple[int, int] | None:
        """Height and width of the images on disk, None where they are a folder's own."""
        if self.source == "folder":
            return self.crop
        return (self.canvas or PUBLISHED_SIZE,) * 2

    @property
    def seen(self) -> tuple[int, int] | None:
        """Height and width of what models see, None where they are a folder's own."""
        return self.frame or self.stored

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.name != self.source and not self.name.startswith(f"{self.source}_"):
            raise ValueError(f"the name of data from {self.source} begins with it, unlike {self.name!r}")
        if self.placement == "random" and self.canvas is None:
            raise ValueError("placement is 'random', for which there is room on a canvas alone: set canvas, as to 48")
        if self.source == "folder":
            if self.canvas is not None:
                raise ValueError("canvas is for the small images of the other sources: leave it null for a folder")
            if self.test is None:
                raise ValueError("test is null, but a folder has no test images of its own: set it, as to 0.2")
            if self.path.startswith("~"):
                raise ValueError(f"path is {self.path!r}, which nobody expands: write the folder's whole path")
        elif given := [name for name in ("test", "channels", "resize", "crop") if getattr(self, name) is not None]:
            raise ValueError(f"{given[0]} is for a folder of images: leave it null for {self.source}")
        if (
            self.frame
            and self.stored
            and any(frame > side for frame, side in zip(self.frame, self.stored, strict=True))
        ):
            raise ValueError(
                f"frame is {list(self.frame)}, larger than the images, which have {list(self.stored)} pixels"
            )
        return self


class Training(_Strict):
    """What one architecture is trained with."""

    lr: float = Field(gt=0, allow_inf_nan=False)  # Adam's learning rate; the highest, where the recipe changes it
    batch_size: int = Field(gt=0)
    epochs: int = Field(gt=0)


class Evaluation(_Strict):
    """How far and how images are shifted."""

    radius: int = Field(gt=0, le=MOST_PIXELS)  # pixels
    regimes: Annotated[list[RegimeName], Field(min_length=1), AfterValidator(_distinct)]
    images: Annotated[int, Field(gt=0)] | Literal["all"]  # of the test images, for the shifts in two dimensions
    # Of the grid of whole shifts within the radius: all, or so many, drawn (PROTOCOL.md, "Sampled grids").
    shifts: Annotated[int, Field(ge=MIN_SAMPLE)] | Literal["all"]
    phase: int = Field(gt=0)  # pixels: the period, of strides and pooling, by which accuracy is looked at
    seed: Seed  # of the sets that draw a shift for each image, and of the choice of `images` and `shifts`


class Params(_Strict):
    """All of params.yaml."""

    data: Data
    recipe: RecipeName
    device: DeviceName
    threads: int = Field(gt=0, le=1024)  # of the processor; the last bits of a sum depend on their number
    model: str  # the choice in conf/model/ that filled `models`: a label, shown by `dvc exp show`
    models: dict[ModelName, Training] = Field(min_length=1)
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
    evaluation: Evaluation
    tracking: TrackingChoice  # where MLflow's store can't be used: stop, or go on without it

    @model_validator(mode="after")
    def _fits(self) -> Self:
        radius, seen, stored = self.evaluation.radius, self.data.seen, self.data.stored
        if seen:
            refuse_radius(radius, seen)
        if "crop" in self.evaluation.regimes:
            if self.data.frame is None:
                raise ValueError(
                    "evaluation.regimes has crop, for which models must see less than the whole image: set data.frame"
                )
            if stored:
                refuse_margin(radius, self.data.frame, stored)
        if self.evaluation.phase > radius:
            raise ValueError(f"evaluation.phase is {self.evaluation.phase}, above evaluation.radius, which is {radius}")
        return self


def refuse_radius(radius: int, frame: tuple[int, int]) -> None:
    """Refuse to shift images of `frame`, (height, width), out of sight.

    Raises:
        ValueError: some shift of `radius` pixels would.
    """
    height, width = frame
    if radius >= min(frame):
        raise ValueError(f"evaluation.radius is {radius}, which shifts images of {width}x{height} pixels out of sight")


def refuse_margin(radius: int, frame: tuple[int, int], stored: tuple[int, int]) -> None:
    """Refuse to move a window of `frame` past the edge of larger images; both are (height, width).

    Raises:
        ValueError: some shift of `radius` pixels would.
    """
    margin = min((whole - part) // 2 for part, whole in zip(frame, stored, strict=True))
    if max(radius, NAMED_REACH) > margin:
        raise ValueError(
            f"evaluation.radius is {radius}, and the named sets reach {NAMED_REACH} pixels, but images of "
            f"{stored[1]}x{stored[0]} have {margin} around a frame of {frame[1]}x{frame[0]}: take a smaller radius or "
            "frame, or larger images"
        )


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    YAML 1.2, as DVC reads it: `1e-3` is a number.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type, a value out of range.
    """
    try:
        values = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UserError(f"no {path} here: run this from the repository's root") from None
    except (YAMLError, ValueError) as error:  # a day like 2020-99-99 is the latter
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {'; '.join(map(_sentence, error.errors()))}") from None


def training(params: Params, name: str) -> Training:
    """What `name` is trained with.

    Raises:
        UserError: the parameters select no such model.
    """
    if name not in params.models:
        raise UserError(
            f"model {name!r} is not among those that params.yaml selects ({', '.join(params.models)}): "
            "choose it with `dvc exp run -S model=NAME`"
        )
    return params.models[name]


def _sentence(error) -> str:  # type: ignore[no-untyped-def]  # pydantic's ErrorDetails is a TypedDict of Any
    where = ".".join(str(part) for part in error["loc"] if part != "[key]") or "the file"
    if error["type"] == "extra_forbidden":
        return f"{where} is not a parameter: take it out, or correct its name"
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}" if error["loc"] else f"{error['ctx']['error']}"
    return f"{where} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
