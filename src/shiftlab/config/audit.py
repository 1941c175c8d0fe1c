"""Options of `shiftlab audit`: of the command, as keywords of `shiftlab.audit`, and as metrics.json records them."""

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shiftlab.config import params
from shiftlab.errors import UserError
from shiftlab.shifts import boundaries

Channels = Literal["grey", "rgb", "bgr"]
Layout = Literal["nchw", "nhwc", "nhw"]
OutputType = Literal["logits", "probabilities"]
# The groups of options in `--help`, in their order.
PANELS = ("Model", "Data", "Preprocessing", "Shifts", "CI", "Output", "Where it is computed")
# Names of earlier versions, and today's.
RENAMED = {"regime": "boundary", "regimes": "boundaries"}
LITERAL = re.compile("'([^']+)'")  # in pydantic's list of what is allowed
BOUNDARIES = ", ".join(f"{name} ({boundaries.get(name).label})" for name in boundaries.names())


def _option(
    metavar: str | None,
    description: str,
    default: Any = None,
    *,
    panel: str | None,
    name: str | None = None,
    show: str | None = None,
    repeated: bool = False,
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
    description += " Can be given more than once." if repeated else ""
    return Field(default, description=description, json_schema_extra=extra)


_model, _data, _pixels, _shifts, _ci, _output, _place = (partial(_option, panel=panel) for panel in PANELS)


def _count(value: object) -> object:
    if not isinstance(value, str) or value == "all":
        return value
    if not value.isdecimal() or not int(value):
        raise ValueError("give a whole number above 0, or all")
    return int(value)


def _sides(value: object) -> object:
    if not isinstance(value, str):
        return value
    sides = value.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides) or len(sides) > 2:
        raise ValueError("give 224, or HEIGHTxWIDTH as in 192x256")
    return (int(sides[0]), int(sides[-1]))


def _side_or_sides(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else _sides(value)


def _numbers(value: object) -> object:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = tuple(map(float, parts)) if isinstance(parts, Iterable) else (float(parts),)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("give one finite number, or one for each channel, as in 0.485,0.456,0.406")
    return numbers


def _white(value: float | None) -> float | None:
    if value not in (None, 1, 255):
        raise ValueError("it is what a white pixel becomes, 1 or 255")
    return value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("they must differ from one another")
    return names


def _arguments(values: object) -> object:
    if isinstance(values, Mapping):
        return values
    pairs = [str(value).partition("=") for value in values]  # type: ignore[attr-defined]
    if not all(name.isidentifier() and value for name, _, value in pairs):
        raise ValueError("give NAME=VALUE, as in transform_input=True")
    return {name: _literal(value) for name, _, value in pairs}


def _literal(text: str) -> object:
    """Return the number, boolean, None, list or text that a user typed."""
    try:
        value = ast.literal_eval(text.title() if text.lower() in ("true", "false", "none") else text)
        json.dumps(value)  # or it could not be recorded
    except (ValueError, SyntaxError, TypeError):
        return text
    return value


Arguments = Annotated[dict[str, Any], BeforeValidator(_arguments)]
Count = Annotated[params.Positive | Literal["all"], BeforeValidator(_count)]
ShiftCount = Annotated[Annotated[int, Field(ge=params.MIN_SAMPLE)] | Literal["all"], BeforeValidator(_count)]
Frame = Annotated[params.Size, BeforeValidator(_sides)]
Resize = Annotated[params.Positive | params.Size, BeforeValidator(_side_or_sides)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Boundaries = Annotated[
    tuple[params.BoundaryName, ...],
    Field(min_length=1, strict=False),
    BeforeValidator(lambda names: [names] if isinstance(names, str) else names),
    AfterValidator(_distinct),
]


class PreprocessingHints(BaseModel):
    """What is known of how raw pixels become a model's inputs; None where it is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    resize: Resize | None = _pixels(
        "N|HxW", "Resize each image first, so that its shorter side has N pixels, or as --crop-mode says.", name="size"
    )
    frame: Frame | None = _pixels(
        "N|HxW", "The middle of the image that the model sees, in pixels: 224, or 192x256.", name="crop"
    )
    interpolation: params.Interpolation | None = _pixels(
        "NAME", "How --size resizes: bilinear, bicubic or nearest.", show="bilinear"
    )
    crop_mode: params.CropMode | None = _pixels(
        "NAME",
        "How images get the size of --size and --crop: center; pad (center, on black where they are smaller); squash "
        "(to exactly --size); border (fit into --size, on the mean's colour).",
        show="center",
    )
    channels: Channels | None = _pixels("ORDER", "The colours that the model takes: grey, rgb or bgr.")
    white: Annotated[float | None, AfterValidator(_white)] = _pixels(
        "N", "Value of a white pixel, before --mean and --std: 1 or 255.", name="range", show="1"
    )
    mean: Numbers | None = _pixels("N,...", "What is subtracted from pixels: one number, or one for each channel.")
    std: Numbers | None = _pixels(
        "N,...", "What pixels are divided by after --mean is subtracted: one number, or one for each channel."
    )
    layout: Layout | None = _pixels(
        "AXES", "Order of the axes of a batch: nchw, nhwc, or nhw for grey images.", show="nchw"
    )

    def known(self) -> dict[str, Any]:
        """Return the hints that are known, by name."""
        return self.model_dump(include=set(PreprocessingHints.model_fields), exclude_none=True)

    def merge(self, other: "PreprocessingHints") -> "PreprocessingHints":
        """Return these hints, completed by those of `other`."""
        return other.model_copy(update=self.known())


class AuditOptions(PreprocessingHints):
    """How a model is audited: the keywords of `shiftlab.audit`, and options of the command.

    Of preprocessing: `resize` (pixels of the shorter side, or height and width), `frame` (height and width of the
    middle that the model sees), `interpolation`, `crop_mode` ("center", "pad", "squash", "border"), `channels` ("grey",
    "rgb", "bgr"), `white` (what a pixel of 255 becomes before `mean` and `std`: 1, the default, or 255), `mean`, `std`,
    `layout` ("nchw", "nhwc", "nhw").
    """

    any_accuracy: bool = _model(
        None, "Audit a model that is right no more often than by chance, or answers all images alike, too.", False
    )
    outputs: OutputType | None = _model(
        "TYPE",
        "What the model's outputs are: logits or probabilities.",
        show="what those of the first images look like",
    )
    count: Count = _data("N|all", "How many images are drawn, each class in its share.", 1000, name="images")
    boundaries: Boundaries | None = _shifts(
        "NAME", f"What moves in at the edge: {BOUNDARIES}.", name="boundary", show="zero and circular", repeated=True
    )
    radius: params.Radius = _shifts("N", "The largest shift along each axis, in pixels.", 8)
    shifts: ShiftCount = _shifts(
        "N|all", f"How many of the shifts within --radius are drawn, {params.MIN_SAMPLE} at least.", 64
    )
    seed: params.Seed = _shifts("N", "Seed for drawing images and shifts.", 0)
    published: str | None = _shifts(
        "NAME",
        "Measure what a paper measured, too: zhang2019, chaman2021, mnist-c or kauderer2017.",
        name="protocol",
    )
    fail_under: Names = _ci(
        "METRIC=SHARE", "End with status 1 if a metric is lower, as in consistency=0.95.", (), repeated=True
    )

    def recorded(self) -> dict[str, Any]:
        """Return what metrics.json records of the options, in JSON's types: places on this machine are left out."""
        return self.model_dump(mode="json", include=set(AuditOptions.model_fields))


class CommandOptions(AuditOptions):
    """What `shiftlab audit` takes besides: where things are, and what is printed."""

    model: str = _option(
        "MODEL",
        "Your code as FILE.py:FUNCTION or MODULE:FUNCTION, which returns the model; a file .onnx, .pt2 (torch.export), "
        ".pt (TorchScript) or .safetensors (trained here); timm:NAME, torchvision:NAME; models:/NAME@ALIAS or "
        "runs:/... of MLflow; http://.../invocations of a server.",
        ...,
        panel=None,
    )
    weights: Path | None = _model("FILE", "Weights of a timm:NAME or torchvision:NAME: safetensors, or a state dict.")
    weights_key: str | None = _model(
        "NAME", "Which of several sets of weights in the file of --weights to take, as in state_dict_ema."
    )
    model_args: Arguments = _model(
        "NAME=VALUE",
        "An argument of the constructor of a timm:NAME or torchvision:NAME, or of your function, as in "
        "transform_input=True.",
        {},
        repeated=True,
    )
    trust_pickle: bool = _model(None, "Read a model file that is a pickle, although it can run any code.", False)
    data: str = _data(
        "NAME",
        "A folder with a subfolder of images for each class, or of images without labels; an .npz file with images and "
        "labels; digits (scikit-learn's); the name of a data set of the pipeline; torchvision:NAME.",
        ...,
    )
    classes: Path | None = _data("FILE", "Names of the classes, in the order of the model's outputs, one a line.")
    background: params.Background | None = _data("COLOUR", "What lies behind see-through pixels: white or black.")
    root: Path = _data("FOLDER", "Where the data sets of torchvision:NAME lie; nothing is downloaded.", Path("data"))
    thresholds: Path | None = _ci("FILE", "A file with a METRIC=SHARE on each line; # begins a comment.")
    out: Path | None = _output("FOLDER", "Folder that the report is written to.", show="audits/MODEL")
    as_json: bool = _output(None, "Print the metrics as JSON, and nothing else.", False, name="json")
    quiet: bool = _output(None, "Print nothing but errors.", False)
    device: params.DeviceName = _place("NAME", "auto (a GPU where PyTorch finds one), cpu, cuda or mps.", "auto")
    threads: params.Threads | None = _place(
        "N", "How many threads of the processor to use. Another number changes the last bits of metrics.", show="all"
    )
    ray: str | None = _place(
        "ADDRESS",
        "Address of a Ray cluster: HOST:PORT, or auto to find it; local for this machine's cores.",
        show="without Ray",
    )

    @property
    def folder(self) -> Path:
        """The folder of the report: unless `out` says another, one that is named after the model."""
        parts = [Path(part) for part in (self.model, self.weights) if part]
        names = [str(_below_here(part).with_suffix("") if part.is_file() else part) for part in parts]
        return self.out or Path("audits", re.sub(r"[^\w.-]+", "-", "-".join(names)).strip("-."))


def _below_here(path: Path) -> Path:
    """Return a path from the working directory on, where it lies within."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def place(path: Path) -> str:
    """Return how results name a file: from the working directory on, or by its folder, without the rest of the path."""
    near = _below_here(path)
    return (Path(*near.parts[-2:]) if near.is_absolute() else near).as_posix()


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
        reason = f"choose of {', '.join(re.findall(LITERAL, first['ctx']['expected']))}"
    raise UserError(f"{flag(kind, field) if typed else field} is {value}: {reason}")


def flag(kind: type[PreprocessingHints], field: str) -> str:
    """Return a field's option, as it is typed: `--boundary` of `boundaries`."""
    name = display(kind, field)["name"] if field in kind.model_fields else None
    return f"--{name or field.replace('_', '-')}"


def display(kind: type[PreprocessingHints], field: str) -> dict[str, Any]:
    """Return how the command shows a field: panel, metavar, name, default and whether it can be repeated."""
    extra = kind.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    return extra
