"""Options of `shiftlab audit`: of the command, as keywords of `shiftlab.audit`, and as metrics.json records them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shiftlab.config.params import MIN_SAMPLE, MOST_PIXELS, BoundaryName, DeviceName, Evaluation, Seed
from shiftlab.errors import UserError
from shiftlab.shifts import boundaries

Interpolation = Literal["bilinear", "bicubic", "nearest"]
Channels = Literal["grey", "rgb", "bgr"]
Layout = Literal["nchw", "nhwc", "nhw"]
PHASE = 4  # pixels: the longest period by which accuracy is looked at
# The groups of options in `--help`, in their order.
PANELS = ("Model", "Data", "Preprocessing", "Shifts", "CI", "Output", "Where it is computed")
# Names of earlier versions, and today's.
RENAMED = {"regime": "boundary", "regimes": "boundaries"}


def _boundary_modes() -> str:
    """Return the names of all boundary modes with their labels, for people."""
    return ", ".join(f"{name} ({boundaries.get(name).label})" for name in boundaries.names())


def _option(
    default: Any,
    metavar: str | None,
    description: str,
    *,
    panel: str | None,
    name: str | None = None,
    show: str | None = None,
    repeated: bool = False,
    **constraints: Any,
) -> Any:
    """Return a field with what the command needs to offer it.

    Args:
        metavar: stands for its value in the help; None makes it a switch.
        panel: its group in the help; None makes it an argument.
        name: of the option, where it is not the field's.
        show: what the help shows as its default, where that is not a value.
        repeated: can it be given more than once?
    """
    extra: dict[str, Any] = {"metavar": metavar, "panel": panel, "name": name, "show": show, "repeated": repeated}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


_model, _data, _pixels, _shifts, _ci, _output, _place = (partial(_option, panel=panel) for panel in PANELS)


def _count(value: object) -> object:
    if not isinstance(value, str) or value == "all":
        return value
    if not value.isdecimal() or not int(value):
        raise ValueError("give a whole number, or all")
    return int(value)


def _sides(value: object) -> object:
    if not isinstance(value, str):
        return value
    sides = value.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides) or len(sides) > 2:
        raise ValueError("give 224, or HEIGHTxWIDTH as in 192x256")
    return (int(sides[0]), int(sides[-1]))


def _numbers(value: object) -> object:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(map(float, parts)) if isinstance(parts, Iterable) else (float(parts),)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError("give one number, or one for each channel, as in 0.485,0.456,0.406") from None


def _white(value: float | None) -> float | None:
    if value not in (None, 1, 255):
        raise ValueError("it is what a white pixel becomes, 1 or 255")
    return value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("they must differ from one another")
    return names


Count = Annotated[Annotated[int, Field(gt=0)] | Literal["all"], BeforeValidator(_count)]
ShiftCount = Annotated[Annotated[int, Field(ge=MIN_SAMPLE)] | Literal["all"], BeforeValidator(_count)]
_Side = Annotated[int, Field(gt=0)]
Frame = Annotated[tuple[_Side, _Side], Field(strict=False), BeforeValidator(_sides)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Boundaries = Annotated[tuple[BoundaryName, ...], Field(min_length=1, strict=False), AfterValidator(_distinct)]


class PreprocessingHints(BaseModel):
    """What is known of how raw pixels become a model's inputs; None where it is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    resize: int | None = _pixels(
        None, "N", "Resize each image first, so that its shorter side has N pixels.", name="size", gt=0
    )
    frame: Frame | None = _pixels(
        None, "N|HxW", "The middle of the image that the model sees, in pixels: 224, or 192x256.", name="crop"
    )
    interpolation: Interpolation | None = _pixels(
        None, "NAME", "How --size resizes: bilinear, bicubic or nearest.", show="bilinear"
    )
    channels: Channels | None = _pixels(None, "ORDER", "The colours that the model takes: grey, rgb or bgr.")
    white: Annotated[float | None, AfterValidator(_white)] = _pixels(
        None, "N", "Value of a white pixel, before --mean and --std: 1 or 255.", name="range", show="1"
    )
    mean: Numbers | None = _pixels(
        None, "N,...", "What is subtracted from pixels: one number, or one for each channel."
    )
    std: Numbers | None = _pixels(
        None, "N,...", "What pixels are divided by after --mean is subtracted: one number, or one for each channel."
    )
    layout: Layout | None = _pixels(
        None, "AXES", "Order of the axes of a batch: nchw, nhwc, or nhw for grey images.", show="nchw"
    )

    def merge(self, other: "PreprocessingHints") -> "PreprocessingHints":
        """Return these hints, completed by those of `other`."""
        known = {name: getattr(self, name) for name in PreprocessingHints.model_fields}
        return other.model_copy(update={name: value for name, value in known.items() if value is not None})


class AuditOptions(PreprocessingHints):
    """How a model is audited: the keywords of `shiftlab.audit`, and options of the command.

    Of preprocessing: `resize` (pixels of the shorter side), `frame` (height and width of the middle that the model
    sees), `interpolation`, `channels` ("grey", "rgb", "bgr"), `white` (what a pixel of 255 becomes before `mean` and
    `std`: 1, the default, or 255), `mean`, `std`, `layout` ("nchw", "nhwc", "nhw").
    """

    any_accuracy: bool = _model(False, None, "Audit a model that is right no more often than by chance, too.")
    count: Count = _data(1000, "N|all", "How many images are drawn, each class in its share.", name="images")
    boundaries: Boundaries | None = _shifts(
        None,
        "NAME",
        f"What moves in at the edge: {_boundary_modes()}. Can be given more than once.",
        name="boundary",
        show="zero and circular",
        repeated=True,
    )
    radius: int = _shifts(8, "N", "The largest shift along each axis, in pixels.", gt=0, le=MOST_PIXELS)
    shifts: ShiftCount = _shifts(64, "N|all", "How many of the shifts within --radius are drawn.")
    seed: Seed = _shifts(0, "N", "Seed for drawing images and shifts.")
    published: str | None = _shifts(
        None,
        "NAME",
        "Measure what a paper measured, too: zhang2019, chaman2021, mnist-c or kauderer2017.",
        name="protocol",
    )
    fail_under: Names = _ci(
        (),
        "METRIC=SHARE",
        "End with status 1 if a metric is lower, as in consistency=0.95. Can be given more than once.",
        repeated=True,
    )

    def evaluation(self, default: Sequence[BoundaryName]) -> Evaluation:
        """Return the evaluation of every image of a sample, in `default` boundaries unless others are given."""
        return Evaluation(
            radius=self.radius,
            boundaries=list(self.boundaries or default),
            images="all",
            shifts=self.shifts,
            phase=min(PHASE, self.radius),
            seed=self.seed,
        )

    def recorded(self) -> dict[str, Any]:
        """Return what metrics.json records of the options, in JSON's types: places on this machine are left out."""
        return self.model_dump(mode="json", include=set(AuditOptions.model_fields))


class CommandOptions(AuditOptions):
    """What `shiftlab audit` takes besides: where things are, and what is printed."""

    model: str = _option(
        ...,
        "MODEL",
        "Your code as FILE.py:FUNCTION or MODULE:FUNCTION, which returns the model; a file .onnx, .pt2 (torch.export), "
        ".pt (TorchScript) or .safetensors (trained here); timm:NAME, torchvision:NAME; models:/NAME@ALIAS or "
        "runs:/... of MLflow; http://.../invocations of a server.",
        panel=None,
    )
    weights: Path | None = _model(
        None, "FILE", "Weights of a timm:NAME or torchvision:NAME: safetensors, or a state dict."
    )
    trust_pickle: bool = _model(False, None, "Read a model file that is a pickle, although it can run any code.")
    data: str = _data(
        ...,
        "NAME",
        "A folder with a subfolder of images for each class, or of images without labels; an .npz file with images and "
        "labels; digits (scikit-learn's); the name of a data set of the pipeline; torchvision:NAME.",
    )
    classes: Path | None = _data(None, "FILE", "Names of the classes, in the order of the model's outputs, one a line.")
    root: Path = _data(Path("data"), "FOLDER", "Where the data sets of torchvision:NAME lie; nothing is downloaded.")
    thresholds: Path | None = _ci(None, "FILE", "A file with a METRIC=SHARE on each line; # begins a comment.")
    out: Path | None = _output(None, "FOLDER", "Folder that the report is written to.", show="audits/MODEL")
    as_json: bool = _output(False, None, "Print the metrics as JSON, and nothing else.", name="json")
    quiet: bool = _output(False, None, "Print nothing but errors.")
    device: DeviceName = _place("auto", "NAME", "auto (a GPU where PyTorch finds one), cpu, cuda or mps.")
    threads: int | None = _place(
        None,
        "N",
        "How many threads of the processor to use. Another number changes the last bits of metrics.",
        show="all",
        gt=0,
        le=1024,
    )
    ray: str | None = _place(
        None,
        "ADDRESS",
        "Address of a Ray cluster: HOST:PORT, or auto to find it; local for this machine's cores.",
        show="without Ray",
    )

    @property
    def folder(self) -> Path:
        """The folder of the report: unless `out` says another, one that is named after the model."""
        name = Path(self.model).stem if Path(self.model).is_file() else self.model
        return self.out or Path("audits", re.sub(r"[^\w.-]+", "-", name).strip("-."))


Options = TypeVar("Options", bound=PreprocessingHints)


def read(kind: type[Options], values: Mapping[str, Any], typed: bool = False) -> Options:
    """Check options, and return them.

    Args:
        values: by the fields' names; None is the default.
        typed: were they typed as a command's options? A message then names those.

    Raises:
        UserError: an option that is not known, or a value that can't be.
    """
    try:
        return kind.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
    field = str(first["loc"][0])
    name = flag(kind, field) if typed else field
    if first["type"] == "extra_forbidden":
        dashes = "--" if typed else ""
        if field in RENAMED:
            raise UserError(f"{dashes}{field} is called {dashes}{RENAMED[field]} now: write that instead")
        raise UserError(f"{field} is not an option: choose of {', '.join(kind.model_fields)}")
    value = f"{first['input']:g}" if isinstance(first["input"], float) else repr(first["input"])
    reason = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
    elif first["type"] == "literal_error":
        choices = re.findall("'([^']+)'", first["ctx"]["expected"])
        reason = f"choose of {', '.join(choices)}"
    raise UserError(f"{name} is {value}: {reason}")


def flag(kind: type[PreprocessingHints], field: str) -> str:
    """Return a field's option, as it is typed: `--boundary` of `boundaries`."""
    if field not in kind.model_fields:
        return f"--{field}"
    return f"--{display(kind, field)['name'] or field.replace('_', '-')}"


def display(kind: type[PreprocessingHints], field: str) -> dict[str, Any]:
    """Return how the command shows a field: panel, metavar, name, default and whether it can be repeated."""
    extra = kind.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    return extra
