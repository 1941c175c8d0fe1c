"""Typed, strict parameters: params.yaml in, frozen objects out.

`conf/` says what an experiment can choose, DVC composes params.yaml from it, and this module refuses what it
doesn't know before anything is done with it.
"""

import operator
from collections.abc import Mapping
from functools import cached_property, reduce
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shiftlab.data import sources
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks import components
from shiftlab.shifts import boundaries

RecipeName = Literal["notebook", "fast", "brief", "smoothed"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Determinism = Literal["portable", "native"]
TrackingChoice = Literal["required", "optional"]
StudyMetric = Literal["clean", "right5", "random5", "consistency", "corrected_consistency", "distance 3", "distance 7"]
StudyBoundary = Literal["zero", "circular", "canvas"]


def _known_model(name: str) -> str:
    if name not in architectures.names():
        known = ", ".join(architectures.names())
        raise ValueError(f"no model {name!r} in src/shiftlab/models/architectures, only {known}")
    return name


def _known_source(name: str) -> str:
    if name not in sources.names():
        raise ValueError(f"no source {name!r} in src/shiftlab/data/sources, only {', '.join(sources.names())}")
    return name


def _known_boundary(name: str) -> str:
    if name not in boundaries.names():
        raise ValueError(
            f"no boundary mode {name!r} in src/shiftlab/shifts/boundaries, only {', '.join(boundaries.names())}"
        )
    return name


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"they must differ from one another, not be {values}")
    return values


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
SourceName = Annotated[str, AfterValidator(_known_source)]
BoundaryName = Annotated[str, AfterValidator(_known_boundary)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Strict):
    """What is learned and tested on. Sizes are [height, width] in pixels."""

    name: str  # the source's, or one that begins with it: results never stand under another source's name
    source: SourceName
    path: str  # what the images are made from: a folder of the user's, or the code that gets them
    mirrors: list[str]  # addresses of folders that hold the published files; tried before torchvision's own
    # Split off as test images; of a source that has test images of its own so many of those, null for all.
    test: Part | None
    validation: Part  # split off the training images
    train: Part | None  # of the training images that are left, each class in its share; null: all
    split_seed: Seed
    channels: Literal[1, 3] | None  # of a folder's images: 1 makes them grey; null: 3 if one has colours
    resize: Annotated[int, Field(gt=0)] | None  # a folder's images to so many pixels along the shorter side
    crop: Size | None  # to the center of a folder's images, after that
    frame: Size | None  # the center that models see; what is around it is for the boundary `crop`. null: all
    canvas: int | None = Field(gt=0, le=2 * MOST_PIXELS)  # pixels a side of a black canvas for the images; null: none
    placement: Literal["centred", "random"]  # on the canvas, of training and validation images; test images: centred

    @field_validator("canvas")
    @classmethod
    def _holds_the_images(cls, canvas: int | None, info: ValidationInfo) -> int | None:
        size = sources.get(info.data["source"]).image_size if "source" in info.data else None
        if canvas is not None and size:
            refuse_canvas("it", canvas, size)
        return canvas

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the images on disk, None where they are a folder's own."""
        if self.canvas is not None:
            return self.canvas, self.canvas
        return sources.get(self.source).image_size or self.crop

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of what models see, None where they are a folder's own."""
        return self.frame or self.image_size

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.name != self.source and not self.name.startswith(f"{self.source}_"):
            raise ValueError(f"the name of data from {self.source} begins with it, unlike {self.name!r}")
        if self.placement == "random" and self.canvas is None:
            raise ValueError("placement is 'random', for which there is room on a canvas alone: set canvas, as to 48")
        if self.path.startswith("~"):
            raise ValueError(f"path is {self.path!r}, which nobody expands: write the folder's whole path")
        source, code = sources.get(self.source), f"src/shiftlab/data/sources/{self.source}.py"
        if source.image_size and self.path != code:
            raise ValueError(
                f"path is {self.path!r}, but the code that gets the images of {self.source} is {code}: set that"
            )
        if self.test is None and not source.has_test_images:
            raise ValueError(f"test is null, but a {self.source} has no test images of its own: set it, as to 0.2")
        if source.image_size is None:
            if self.canvas is not None:
                raise ValueError("canvas is for the small images of the other sources: leave it null for a folder")
        else:
            for name in ("channels", "resize", "crop"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for a folder of images: leave it null for {self.source}")
        size = self.image_size
        if self.frame and size and any(part > whole for part, whole in zip(self.frame, size, strict=True)):
            raise ValueError(f"frame is {list(self.frame)}, larger than the images, which have {list(size)} pixels")
        return self


class Augmentation(_Strict):
    """How training images are moved, each by a shift of its own in every epoch, drawn from the run's seed."""

    # shifts: black moves in at the edge. crops: what a larger image has there.
    kind: Literal["none", "shifts", "crops"]
    pixels: int = Field(ge=0, le=MOST_PIXELS)  # along each axis, at most

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.kind == "none") != (self.pixels == 0):
            raise ValueError(
                f"kind is {self.kind!r} with {self.pixels} pixels: choose shifts or crops by some, or none by 0"
            )
        return self

    def __str__(self) -> str:
        return "none" if self.kind == "none" else f"{self.kind} up to {self.pixels} pixels"


class Training(_Strict):
    """What one architecture is trained with."""

    lr: float = Field(gt=0, allow_inf_nan=False)  # Adam's learning rate; the highest, where the recipe changes it
    batch_size: int = Field(gt=0)
    epochs: int = Field(gt=0)
    components: dict[str, Any] = {}  # of an architecture that has some to choose
    initialisation: Literal["xavier"] | None = None  # of the weights (Glorot and Bengio 2010); null: PyTorch's
    recipe: RecipeName | None = None  # its own, instead of that of all models
    augmentation: Augmentation | None = None  # likewise


class Evaluation(_Strict):
    """How far and how images are shifted."""

    radius: int = Field(gt=0, le=MOST_PIXELS)  # pixels
    boundaries: Annotated[list[BoundaryName], Field(min_length=1), AfterValidator(_distinct)]
    images: Annotated[int, Field(gt=0)] | Literal["all"]  # of the test images, for the shifts in two dimensions
    # Of the grid of whole shifts within the radius: all, or so many, drawn (PROTOCOL.md, "Sampled grids").
    shifts: Annotated[int, Field(ge=MIN_SAMPLE)] | Literal["all"]
    phase: int = Field(gt=0)  # pixels: the period, of strides and pooling, by which accuracy is looked at
    seed: Seed  # of the sets that draw a shift for each image, and of the choice of `images` and `shifts`


def recorded(
    recipe: RecipeName,
    augmentation: Augmentation,
    device: str,
    threads: int,
    determinism: Determinism,
    settings: Training,
) -> dict[str, object]:
    """What a training is recorded with: every choice by its name."""
    own = settings.model_dump(exclude={"components", "recipe", "augmentation"}, exclude_none=True) | settings.components
    moved = str(settings.augmentation or augmentation)
    machine = {"device": device, "threads": threads, "determinism": determinism}
    return {"recipe": settings.recipe or recipe, "augmentation": moved, **machine, **own}


class Variant(_Strict):
    """One network of the study, and what it is trained with."""

    architecture: ModelName
    components: dict[str, Any]
    recipe: RecipeName
    lr: float = Field(gt=0, allow_inf_nan=False)
    batch_size: int = Field(gt=0)
    epochs: int = Field(gt=0)
    augmentation: Augmentation
    canvas: int | None = Field(gt=0, multiple_of=2, le=2 * MOST_PIXELS)  # pixels a side that its images are placed on

    @property
    def training(self) -> Training:
        """What it is trained with, as any model."""
        return Training(lr=self.lr, batch_size=self.batch_size, epochs=self.epochs, components=self.components)


class Contrast(_Strict):
    """What one claim says of one metric: the first variant's, less the second's, has a sign."""

    first: str  # a variant
    second: str | None = None  # another; or the same, in another metric
    metric: StudyMetric
    second_metric: StudyMetric | None = None
    boundary: StudyBoundary
    sign: Literal["+", "-", "0"] = "+"
    exactly: float | None = None  # instead of a second variant: the first one's metric has this value, in every seed
    beyond: list[list[str]] = []  # pairs of variants: the difference is larger than the largest of theirs
    on: str | None = None  # what this contrast is about among several of a claim, as in "depends on the head"
    secondary: bool = False  # shown, and decides nothing

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.second is None) == (self.exactly is None):
            raise ValueError("a contrast is against a `second` variant, or says what the metric is `exactly`")
        if any(len(pair) != 2 for pair in self.beyond):
            raise ValueError("each entry of `beyond` is a pair of variants")
        return self

    @property
    def variants(self) -> list[str]:
        """All that it names."""
        return [name for name in (self.first, self.second, *reduce(operator.iadd, self.beyond, [])) if name is not None]


class Claim(_Strict):
    """What somebody says of where invariance comes from."""

    says: str  # in a plain sentence
    by: str  # who
    contrasts: list[Contrast] = Field(min_length=1)

    @property
    def primary(self) -> list[Contrast]:
        """Those that decide."""
        return [one for one in self.contrasts if not one.secondary]

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if not self.primary:
            raise ValueError("all contrasts are secondary, but a claim needs a primary one that decides it")
        if len(self.primary) > 1 and not all(one.on for one in self.primary):
            raise ValueError(
                'a claim with several primary contrasts needs "on" in each, which says what its verdict depends on; in '
                "quotes, since a bare on is true in YAML"
            )
        return self


class Study(_Strict):
    """Variants of one network, and the claims that they decide; PROTOCOL.md, "Effects and verdicts"."""

    name: Annotated[list[str], Field(max_length=1)]  # none where there are no variants: dvc.yaml makes a stage of each
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
    threads: int = Field(gt=0, le=1024)
    radius: int = Field(gt=0, le=MOST_PIXELS)  # pixels
    images: int = Field(gt=0)  # of the test images, for consistency and distances; the named sets use all
    shifts: int = Field(ge=MIN_SAMPLE)  # drawn from the grid
    seed: Seed  # of that and of the choice of images
    baseline: dict[str, Any]
    variants: dict[str, dict[str, Any]]  # what each has otherwise than the baseline
    claims: dict[str, Claim]

    @cached_property
    def every(self) -> dict[str, Variant]:
        """All variants in full."""
        return {name: Variant.model_validate(self._whole(name)) for name in self.variants}

    def _whole(self, name: str) -> dict[str, Any]:
        otherwise = self.variants[name]
        whole = {**self.baseline, **otherwise}
        # Another architecture has other components.
        inherited = self.baseline["components"] if whole["architecture"] == self.baseline["architecture"] else {}
        return {**whole, "components": {**inherited, **otherwise.get("components", {})}}

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for name in self.variants:
            try:
                variant = Variant.model_validate(self._whole(name))
                components.validate(variant.architecture, variant.components)
            except ValidationError as error:
                raise ValueError(f"variant {name}: {'; '.join(map(_sentence, error.errors()))}") from None
            except ValueError as error:
                raise ValueError(f"variant {name}: {error}") from None
        for key, claim in self.claims.items():
            if len(self.seeds) < 2:
                raise ValueError(f"seeds are {self.seeds}, but a verdict needs two at least")
            for contrast in claim.contrasts:
                for metric in filter(None, (contrast.metric, contrast.second_metric)):
                    if metric.startswith("distance") and int(metric.split()[1]) > self.radius:
                        raise ValueError(f"claim {key} asks for {metric}, beyond the study's radius of {self.radius}")
                for name in contrast.variants:
                    self._refuse(key, contrast, name)
        return self

    def _refuse(self, key: str, contrast: Contrast, name: str) -> None:
        if name not in self.variants:
            known = ", ".join(self.variants)
            raise ValueError(f"claim {key} names the variant {name!r}, which is not among study.variants ({known})")
        if (contrast.boundary == "canvas") != (self.every[name].canvas is not None):
            raise ValueError(
                f"claim {key} asks for the boundary {contrast.boundary} of the variant {name!r}, whose canvas is "
                f"{self.every[name].canvas}: the boundary is canvas for those that have one, and for no others"
            )


class Params(_Strict):
    """All of params.yaml."""

    preset: str | None  # the choice in conf/preset/ that set several others
    data: Data
    recipe: RecipeName
    augmentation: Augmentation
    device: DeviceName
    threads: int = Field(gt=0, le=1024)  # of the processor; the last bits of a sum depend on their number
    determinism: Determinism  # portable: kernels that every x86 processor has; native: the processor's own
    model: str  # the choice in conf/model/ that filled `models`: a label, shown by `dvc exp show`
    models: dict[ModelName, Training] = Field(min_length=1)
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
    evaluation: Evaluation
    tracking: TrackingChoice  # where MLflow's store can't be used: stop, or go on without it
    study: Study

    @model_validator(mode="after")
    def _fits(self) -> Self:
        radius, input_size, image_size = self.evaluation.radius, self.data.input_size, self.data.image_size
        if input_size:
            refuse_radius(radius, input_size)
        for name, settings in self.models.items():
            _refuse_components(f"models.{name}", name, settings.components, input_size)
        for name, variant in self.study.every.items():
            if variant.canvas and image_size:
                refuse_canvas(f"study.variants.{name}.canvas", variant.canvas, image_size)
            size = (variant.canvas,) * 2 if variant.canvas else input_size
            _refuse_components(f"study.variants.{name}", variant.architecture, variant.components, size)
        for augmentation in (self.augmentation, *(settings.augmentation for settings in self.models.values())):
            if augmentation and augmentation.kind == "crops" and self.data.frame is None:
                raise ValueError(
                    "augmentation.kind is 'crops', for which models must see less than the whole image: set data.frame"
                )
            if augmentation and input_size:
                refuse_augmentation(augmentation, input_size, image_size)
        for boundary in self.evaluation.boundaries:
            if boundaries.get(boundary).margin(1) and self.data.frame is None:
                raise ValueError(
                    f"evaluation.boundaries has {boundary}, for which models must see less than the whole image: set "
                    "data.frame"
                )
            if self.data.frame and image_size:
                refuse_margin(boundary, radius, self.data.frame, image_size)
        if self.evaluation.phase > radius:
            raise ValueError(f"evaluation.phase is {self.evaluation.phase}, above evaluation.radius, which is {radius}")
        return self


def _refuse_components(where: str, architecture: str, choices: Mapping[str, Any], size: tuple[int, int] | None) -> None:
    """Refuse what no network can be built of, as far as the images' size, (height, width), is known.

    Raises:
        ValueError: there is no such component or choice, or the images are too small for it.
    """
    try:
        chosen = components.validate(architecture, choices)
        if chosen and size:
            chosen.last_map(*size)
    except ValidationError as error:
        raise ValueError(f"{where}.components: {'; '.join(map(_sentence, error.errors()))}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def refuse_radius(radius: int, frame: tuple[int, int]) -> None:
    """Refuse to shift images of `frame`, (height, width), out of sight.

    Raises:
        ValueError: some shift of `radius` pixels would.
    """
    height, width = frame
    if radius >= min(frame):
        raise ValueError(f"evaluation.radius is {radius}, which shifts images of {width}x{height} pixels out of sight")


def refuse_canvas(name: str, canvas: int, size: tuple[int, int]) -> None:
    """Refuse a canvas, of `canvas` pixels a side, without room for images of `size`, or without a center for them.

    Raises:
        ValueError: it is too small, or larger by an odd number of pixels; `name` is what the message calls it.
    """
    height, width = size
    if canvas < max(size) or any((canvas - side) % 2 for side in size):
        raise ValueError(
            f"{name} is {canvas}, but images of {width}x{height} need one as large at least, and larger by an even "
            "number of pixels, so that there is a center"
        )


def refuse_augmentation(augmentation: Augmentation, frame: tuple[int, int], image_size: tuple[int, int] | None) -> None:
    """Refuse to move training images out of sight, or crops past the edge of larger images; (height, width) each.

    Raises:
        ValueError: some shift would.
    """
    height, width = frame
    if augmentation.kind == "shifts" and augmentation.pixels >= min(frame):
        raise ValueError(
            f"augmentation.pixels is {augmentation.pixels}, which moves images of {width}x{height} pixels out of sight"
        )
    margin = min((whole - part) // 2 for part, whole in zip(frame, image_size or frame, strict=True))
    if augmentation.kind == "crops" and image_size and augmentation.pixels > margin:
        raise ValueError(
            f"augmentation.pixels is {augmentation.pixels}, but images of {image_size[1]}x{image_size[0]} have "
            f"{margin} around a frame of {width}x{height}: take fewer, a smaller frame, or larger images"
        )


def refuse_margin(boundary: str, radius: int, frame: tuple[int, int], image_size: tuple[int, int]) -> None:
    """Refuse to move a frame past the edge of larger images in a boundary mode; both sizes are (height, width).

    Raises:
        ValueError: some shift of `radius` pixels would.
    """
    margin = min((whole - part) // 2 for part, whole in zip(frame, image_size, strict=True))
    if boundaries.get(boundary).margin(max(radius, NAMED_REACH)) > margin:
        raise ValueError(
            f"evaluation.radius is {radius}, and the named sets reach {NAMED_REACH} pixels, but images of "
            f"{image_size[1]}x{image_size[0]} have {margin} around a frame of {frame[1]}x{frame[0]}: take a smaller "
            "radius or frame, or larger images"
        )


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    YAML 1.2, as DVC reads it: `1e-3` is a number.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type, a value out of range.
    """
    from ruamel.yaml import YAML  # of the pipeline alone: an audit has no params.yaml
    from ruamel.yaml.error import YAMLError

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
    if error["type"] == "invalid_key":
        return f"{where} is not a name: YAML reads a bare on, off, yes or no as true or false, so put it in quotes"
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}" if error["loc"] else f"{error['ctx']['error']}"
    return f"{where} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
