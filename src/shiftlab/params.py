"""Typed, strict parameters: params.yaml in, frozen objects out.

`conf/` says what an experiment can choose, DVC composes params.yaml from it, and this module refuses what it
doesn't know before anything is done with it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from shiftlab import models
from shiftlab.errors import UserError

SourceName = Literal["mnist", "digits"]
RegimeName = Literal["zero", "circular"]
RecipeName = Literal["notebook", "fast"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
TrackingChoice = Literal["required", "optional"]


def _known_model(name: str) -> str:
    if name not in models.names():
        raise ValueError(f"no model {name!r} in src/shiftlab/models, only {', '.join(models.names())}")
    return name


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"they must differ from one another, not be {values}")
    return values


IMAGE_SIZE = 28  # pixels a side, of every source
Seed = Annotated[int, Field(ge=0, lt=2**32)]
ModelName = Annotated[str, AfterValidator(_known_model)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Strict):
    """What is learned and tested on."""

    name: str  # the source's, or one that begins with it: results never stand under another source's name
    source: SourceName
    mirrors: list[str]  # addresses of folders that hold the published files; tried before torchvision's own
    validation: int = Field(gt=0)  # images split off the training images
    split_seed: Seed
    # Pixels a side of the black canvas that images lie on, null for none; even, so that there is a middle.
    canvas: int | None = Field(ge=IMAGE_SIZE, multiple_of=2, le=2 * 127)
    placement: Literal["centred", "random"]  # on the canvas, of training and validation images; test images: centred

    @property
    def size(self) -> int:
        """Pixels a side of the images that models see."""
        return self.canvas or IMAGE_SIZE

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.name != self.source and not self.name.startswith(f"{self.source}_"):
            raise ValueError(f"the name of data from {self.source} begins with it, unlike {self.name!r}")
        if self.placement == "random" and self.canvas is None:
            raise ValueError("placement is 'random', for which there is room on a canvas alone: set canvas, as to 48")
        return self


class Training(_Strict):
    """What one architecture is trained with."""

    lr: float = Field(gt=0, allow_inf_nan=False)  # Adam's learning rate; the highest, where the recipe changes it
    batch_size: int = Field(gt=0)
    epochs: int = Field(gt=0)


class Evaluation(_Strict):
    """How far and how images are shifted."""

    radius: int = Field(gt=0)  # pixels
    regimes: Annotated[list[RegimeName], Field(min_length=1), AfterValidator(_distinct)]
    images: Annotated[int, Field(gt=0)] | Literal["all"]  # of the test images, for the shifts in two dimensions
    phase: int = Field(gt=0)  # pixels: the period, of strides and pooling, by which accuracy is looked at
    seed: Seed  # of the evaluation sets that draw a shift for each image, and of the choice of `images`


class Params(_Strict):
    """All of params.yaml."""

    data: Data
    recipe: RecipeName
    device: DeviceName
    model: str  # the choice in conf/model/ that filled `models`: a label, shown by `dvc exp show`
    models: dict[ModelName, Training] = Field(min_length=1)
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
    evaluation: Evaluation
    tracking: TrackingChoice  # where MLflow's store can't be used: stop, or go on without it

    @model_validator(mode="after")
    def _fits(self) -> Self:
        radius, size = self.evaluation.radius, self.data.size
        if radius >= size:
            raise ValueError(f"evaluation.radius is {radius}, which shifts images of {size}x{size} pixels out of sight")
        if self.evaluation.phase > radius:
            raise ValueError(f"evaluation.phase is {self.evaluation.phase}, above evaluation.radius, which is {radius}")
        return self


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
