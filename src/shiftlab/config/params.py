"""Typed, strict parameters: params.yaml in, frozen objects out.

`conf/` says what an experiment can choose, DVC composes params.yaml from it, and this module refuses what it
doesn't know before anything is done with it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shiftlab.data import sources
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.networks import components
from shiftlab.shifts import boundaries

RecipeName = Literal["notebook", "fast", "brief", "smoothed"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
Background = Literal["white", "black"]
CropMode = Literal["center", "pad", "squash", "border"]  # timm's names, but for `pad`
Determinism = Literal["portable", "native"]
TrackingChoice = Literal["required", "optional"]
StudyMetric = Literal["clean", "right5", "random5", "consistency", "corrected_consistency", "distance 3", "distance 7"]
StudyBoundary = Literal["zero", "circular", "canvas"]
ImageSize = tuple[int, int]  # height, width in pixels


def _name_in(registry: ModuleType, kind: str) -> AfterValidator:
    """Return the validator of a name that must be in a registry, whose entries are of that kind."""

    def validate(name: str) -> str:
        if name not in (names := registry.names()):
            folder = f"src/{registry.__name__.replace('.', '/')}"
            raise ValueError(f"no {kind} {name!r} in {folder}, only {', '.join(names)}")
        return name

    return AfterValidator(validate)


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"they must differ from one another, not be {values}")
    return values


MOST_PIXELS = 127  # of a shift along an axis: shifts are kept in 8 bits
NAMED_REACH = 5  # pixels, of the named evaluation sets
MIN_SAMPLE = 16  # shifts drawn from a grid, or there is nothing to say how sure a mean over them is
Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
Threads = Annotated[int, Field(gt=0, le=1024)]
Radius = Annotated[int, Field(gt=0, le=MOST_PIXELS)]  # pixels
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # Adam's
CountOrShare = Positive | Annotated[float, Field(gt=0, lt=1)]  # so many images, or such a share of them
Size = Annotated[tuple[Positive, Positive], Field(strict=False)]  # [height, width] in YAML
ModelName = Annotated[str, _name_in(architectures, "model")]
SourceName = Annotated[str, _name_in(sources, "source")]
BoundaryName = Annotated[str, _name_in(boundaries, "boundary mode")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Strict):
    """What is learned and tested on. Sizes are [height, width] in pixels."""

    name: str  # the source's, or one that begins with it: results never stand under another source's name
    source: SourceName
    path: str  # what the images are made from: a folder of the user's, or the code that gets them
    mirrors: list[str]  # addresses of folders that hold the published files; tried before torchvision's own
    test: (
        CountOrShare | None
    )  # split off as test images; of a source that has some of its own so many of those, null: all
    validation: CountOrShare  # split off the training images
    train: CountOrShare | None  # of the training images that are left, each class in its share; null: all
    split_seed: Seed
    channels: Literal[1, 3] | None  # of a folder's images: 1 makes them grey; null: 3 if one has colours
    resize: Positive | None  # a folder's images to so many pixels along the shorter side
    crop: Size | None  # to the center of a folder's images, after that
    background: Background | None = None  # behind see-through pixels of a folder's images; null: refuse those
    frame: Size | None  # the center that models see; what is around it is for the boundary `crop`. null: all
    canvas: int | None = Field(gt=0, le=2 * MOST_PIXELS)  # pixels a side of a black canvas for the images; null: none
    placement: Literal["centred", "random"]  # on the canvas, of training and validation images; test images: centred

    @property
    def image_size(self) -> ImageSize | None:
        """Return height and width of the images on disk, None where they are a folder's own."""
        return (self.canvas, self.canvas) if self.canvas else sources.get(self.source).image_size or self.crop

    @property
    def input_size(self) -> ImageSize | None:
        """Return height and width of what models see, None where they are a folder's own."""
        return self.frame or self.image_size

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
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
        if source.image_size is None and self.canvas is not None:
            raise ValueError("canvas is for the small images of the other sources: leave it null for a folder")
        if source.image_size and (
            needless := [name for name in ("channels", "resize", "crop", "background") if getattr(self, name)]
        ):
            raise ValueError(f"{needless[0]} is for a folder of images: leave it null for {self.source}")
        if self.frame and (size := self.image_size) and (self.frame[0] > size[0] or self.frame[1] > size[1]):
            raise ValueError(f"frame is {list(self.frame)}, larger than the images, which have {list(size)} pixels")
        return self


class Augmentation(_Strict):
    """How training images are moved, each by a shift of its own in every epoch, drawn from the run's seed."""

    kind: Literal["none", "shifts", "crops"]  # shifts: black moves in at the edge; crops: what a larger image has there
    pixels: int = Field(ge=0, le=MOST_PIXELS)  # along each axis, at most

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.kind == "none") != (self.pixels == 0):
            raise ValueError(
                f"kind is {self.kind!r} with {self.pixels} pixels: choose shifts or crops by some, or none by 0"
            )
        return self

    def __str__(self) -> str:
        return "none" if self.kind == "none" else f"{self.kind} up to {self.pixels} pixels"


class Training(_Strict):
    """What one architecture is trained with."""

    lr: LearningRate  # the highest, where the recipe changes it
    batch_size: Positive
    epochs: Positive
    components: dict[str, Any] = {}  # of an architecture that has some to choose
    initialisation: Literal["xavier"] | None = None  # of the weights (Glorot and Bengio 2010); null: PyTorch's
    recipe: RecipeName | None = None  # its own, instead of that of all models
    augmentation: Augmentation | None = None  # likewise


class Evaluation(_Strict):
    """How far and how images are shifted."""

    radius: Radius
    boundaries: Annotated[list[BoundaryName], Field(min_length=1), AfterValidator(_distinct)]
    images: Positive | Literal["all"]  # of the test images, for the shifts in two dimensions
    # Of the grid of whole shifts within the radius: all, or so many, drawn (PROTOCOL.md, "Sampled grids").
    shifts: Annotated[int, Field(ge=MIN_SAMPLE)] | Literal["all"]
    phase: Positive  # pixels: the period, of strides and pooling, by which accuracy is looked at
    seed: Seed  # of the sets that draw a shift for each image, and of the choice of `images` and `shifts`


def recorded(
    recipe: RecipeName, augmentation: Augmentation, device: str, threads: int, determinism: str, settings: Training
) -> dict[str, object]:
    """Return what a training is recorded with: every choice by its name."""
    own = settings.model_dump(exclude={"components", "recipe", "augmentation"}, exclude_none=True)
    shifts = str(settings.augmentation or augmentation)
    machine = {"device": device, "threads": threads, "determinism": determinism}
    return {"recipe": settings.recipe or recipe, "augmentation": shifts, **machine, **own, **settings.components}


class Variant(_Strict):
    """One network of the study, and what it is trained with."""

    architecture: ModelName
    components: dict[str, Any]
    recipe: RecipeName
    lr: LearningRate
    batch_size: Positive
    epochs: Positive
    augmentation: Augmentation
    canvas: int | None = Field(gt=0, multiple_of=2, le=2 * MOST_PIXELS)  # pixels a side that its images are placed on

    @property
    def training(self) -> Training:
        """Return what it is trained with, as any model."""
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
    def _check_consistency(self) -> Self:
        if (self.second is None) == (self.exactly is None):
            raise ValueError("a contrast is against a `second` variant, or says what the metric is `exactly`")
        if any(len(pair) != 2 for pair in self.beyond):
            raise ValueError("each entry of `beyond` is a pair of variants")
        return self

    @property
    def variants(self) -> list[str]:
        """Return the names of all variants that it compares."""
        return [name for name in (self.first, self.second, *chain(*self.beyond)) if name is not None]


class Claim(_Strict):
    """What somebody says of where invariance comes from."""

    says: str  # in a plain sentence
    by: str  # who
    contrasts: list[Contrast] = Field(min_length=1)

    @property
    def primary(self) -> list[Contrast]:
        """Return the contrasts that decide."""
        return [contrast for contrast in self.contrasts if not contrast.secondary]

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not self.primary:
            raise ValueError("all contrasts are secondary, but a claim needs a primary one that decides it")
        if len(self.primary) > 1 and not all(contrast.on for contrast in self.primary):
            raise ValueError(
                'a claim with several primary contrasts needs "on" in each, which says what its verdict depends on; in '
                "quotes, since a bare on is true in YAML"
            )
        return self


class Study(_Strict):
    """Variants of one network, and the claims that they decide; PROTOCOL.md, "Effects and verdicts"."""

    name: Annotated[list[str], Field(max_length=1)]  # none where there are no variants: dvc.yaml makes a stage of each
    seeds: Seeds
    threads: Threads
    radius: Radius
    images: Positive  # of the test images, for consistency and distances; the named sets use all
    shifts: int = Field(ge=MIN_SAMPLE)  # drawn from the grid
    seed: Seed  # of that and of the choice of images
    baseline: dict[str, Any]
    variants: dict[str, dict[str, Any]]  # what each has otherwise than the baseline
    claims: dict[str, Claim]

    @cached_property
    def full_variants(self) -> dict[str, Variant]:
        """Return the variants in full: the baseline, but for what each has otherwise."""
        variants = {}
        for name, otherwise in self.variants.items():
            whole = {**self.baseline, **otherwise}
            # Another architecture has other components.
            inherited = self.baseline["components"] if whole["architecture"] == self.baseline["architecture"] else {}
            whole["components"] = {**inherited, **otherwise.get("components", {})}
            with _prefixing_errors(f"variant {name}"):
                variants[name] = Variant.model_validate(whole)
                components.validate(variants[name].architecture, variants[name].components)
        return variants

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        variants = self.full_variants
        if self.claims and len(self.seeds) < 2:
            raise ValueError(f"seeds are {self.seeds}, but a verdict needs two at least")
        for key, contrast in [(key, contrast) for key, claim in self.claims.items() for contrast in claim.contrasts]:
            for metric in filter(None, (contrast.metric, contrast.second_metric)):
                if metric.startswith("distance") and int(metric.split()[1]) > self.radius:
                    raise ValueError(f"claim {key} asks for {metric}, beyond the study's radius of {self.radius}")
            for name in contrast.variants:
                if name not in variants:
                    known = ", ".join(variants)
                    raise ValueError(
                        f"claim {key} names the variant {name!r}, which is not among study.variants ({known})"
                    )
                canvas = variants[name].canvas
                if (contrast.boundary == "canvas") != (canvas is not None):
                    raise ValueError(
                        f"claim {key} asks for the boundary {contrast.boundary} of the variant {name!r}, whose canvas "
                        f"is {canvas}: the boundary is canvas for those that have one, and for no others"
                    )
        return self


class Params(_Strict):
    """All of params.yaml."""

    preset: str | None  # the choice in conf/preset/ that set several others
    data: Data
    recipe: RecipeName
    augmentation: Augmentation
    device: DeviceName
    threads: Threads  # of the processor; the last bits of what is native depend on their number
    determinism: Determinism  # portable: the same bytes on every x86 processor; native: the fastest here
    model: str  # the choice in conf/model/ that filled `models`: a label, shown by `dvc exp show`
    models: dict[ModelName, Training] = Field(min_length=1)
    seeds: Seeds
    evaluation: Evaluation
    tracking: TrackingChoice  # where MLflow's store can't be used: stop, or go on without it
    study: Study

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        radius, data = self.evaluation.radius, self.data
        input_size, image_size = data.input_size, data.image_size
        if data.canvas and (size := sources.get(data.source).image_size):
            _refuse_canvas("data.canvas", data.canvas, size)
        within = "for which models must see less than the whole image: set data.frame"
        for boundary in self.evaluation.boundaries if data.frame is None else ():
            if boundaries.get(boundary).margin(1):
                raise ValueError(f"evaluation.boundaries has {boundary}, {within}")
        if input_size:
            refuse_shifts(self.evaluation, input_size, image_size if data.frame else None)
        if self.evaluation.phase > radius:
            raise ValueError(f"evaluation.phase is {self.evaluation.phase}, above evaluation.radius, which is {radius}")
        for augmentation in (self.augmentation, *(settings.augmentation for settings in self.models.values())):
            if augmentation and augmentation.kind == "crops" and data.frame is None:
                raise ValueError(f"augmentation.kind is 'crops', {within}")
            if augmentation and input_size:
                refuse_augmentation(augmentation, input_size, image_size)
        for name, settings in self.models.items():
            _refuse_components(f"models.{name}", name, settings.components, input_size)
        for name, variant in self.study.full_variants.items():
            if variant.canvas and image_size:
                _refuse_canvas(f"study.variants.{name}.canvas", variant.canvas, image_size)
            size = (variant.canvas, variant.canvas) if variant.canvas else input_size
            _refuse_components(f"study.variants.{name}", variant.architecture, variant.components, size)
        return self


@contextmanager
def _prefixing_errors(where: str, suffix: str = "") -> Iterator[None]:
    """Put the name of what is wrong before a ValueError's words; `suffix` follows it where single values are wrong."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(f"{where}{suffix}: {_sentences(error)}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _refuse_components(where: str, architecture: str, choices: Mapping[str, Any], size: ImageSize | None) -> None:
    """Raise ValueError for components of which no network can be built, as far as the images' size is known."""
    with _prefixing_errors(where, ".components"):
        validated = components.validate(architecture, choices)
        if validated and size:
            validated.refuse_size(*size)


def _refuse_canvas(name: str, canvas: int, size: ImageSize) -> None:
    """Raise ValueError for a canvas, `canvas` pixels a side, without room or without a center for images of `size`."""
    height, width = size
    if canvas < max(size) or any((canvas - side) % 2 for side in size):
        raise ValueError(
            f"{name} is {canvas}, but images of {width}x{height} need one as large at least, and larger by an even "
            "number of pixels, so that there is a center"
        )


def _margin(frame: ImageSize, image_size: ImageSize) -> int:
    """Return how many pixels images have around a frame, on the side where they are fewest."""
    return min((image_size[0] - frame[0]) // 2, (image_size[1] - frame[1]) // 2)


def refuse_augmentation(augmentation: Augmentation, frame: ImageSize, image_size: ImageSize | None) -> None:
    """Raise ValueError for an augmentation out of sight of `frame`, or past the edge of larger images."""
    height, width = frame
    if augmentation.kind == "shifts" and augmentation.pixels >= min(frame):
        raise ValueError(
            f"augmentation.pixels is {augmentation.pixels}, which moves images of {width}x{height} pixels out of sight"
        )
    if augmentation.kind == "crops" and image_size and augmentation.pixels > (margin := _margin(frame, image_size)):
        raise ValueError(
            f"augmentation.pixels is {augmentation.pixels}, but images of {image_size[1]}x{image_size[0]} have "
            f"{margin} around a frame of {width}x{height}: take fewer, a smaller frame, or larger images"
        )


def refuse_shifts(evaluation: Evaluation, frame: ImageSize, image_size: ImageSize | None = None) -> None:
    """Raise ValueError for shifts out of sight of `frame`, or past the edge of larger images where those are known."""
    height, width = frame
    radius = evaluation.radius
    if radius >= min(frame):
        raise ValueError(
            f"evaluation.radius is {radius}, which shifts images of {width}x{height} pixels out of sight: take one "
            f"below {min(frame)}"
        )
    if image_size is None:
        return
    margin, reach = _margin(frame, image_size), max(radius, NAMED_REACH)
    if any(boundaries.get(boundary).margin(reach) > margin for boundary in evaluation.boundaries):
        raise ValueError(
            f"evaluation.radius is {radius}, and the named sets reach {NAMED_REACH} pixels, but images of "
            f"{image_size[1]}x{image_size[0]} have {margin} around a frame of {width}x{height}: take a smaller "
            "radius or frame, or larger images"
        )


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters, in YAML 1.2, as DVC reads it: `1e-3` is a number.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type, a value out of range.
    """
    from ruamel.yaml import YAML  # of the pipeline alone: an audit has no params.yaml
    from ruamel.yaml.error import YAMLError

    try:
        return Params.model_validate(YAML(typ="safe").load(path))
    except FileNotFoundError:
        raise UserError(f"no {path} here: run this from the repository's root") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_sentences(error)}") from None
    except (YAMLError, ValueError) as error:  # a day like 2020-99-99 is the latter
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def training(params: Params, name: str) -> Training:
    """Return what a model is trained with. UserError: the parameters select no such model."""
    if name not in params.models:
        raise UserError(
            f"model {name!r} is not among those that params.yaml selects ({', '.join(params.models)}): "
            "choose it with `dvc exp run -S model=NAME`"
        )
    return params.models[name]


SENTENCES = {  # pydantic's types of errors
    "extra_forbidden": "is not a parameter: take it out, or correct its name",
    "invalid_key": "is not a name: YAML reads a bare on, off, yes or no as true or false, so put it in quotes",
    "missing": "is missing",
}


def _sentences(invalid: ValidationError) -> str:
    """Return a sentence on each wrong value, with its name as in params.yaml."""
    sentences = []
    for error in invalid.errors():
        where = ".".join(str(part) for part in error["loc"] if part != "[key]")
        if error["type"] == "value_error":
            sentences.append(f"{where}: {error['ctx']['error']}".removeprefix(": "))
        else:
            reason = f"is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
            sentences.append(f"{where or 'the file'} {SENTENCES.get(error['type'], reason)}")
    return "; ".join(sentences)
