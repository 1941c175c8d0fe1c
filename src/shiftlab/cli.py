"""The command `shiftlab`: arguments in, one call each. Exit status 0: held; 1: a threshold failed; 2: a mistake."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shiftlab.errors import UserError

if TYPE_CHECKING:
    from shiftlab.audits.preprocessing import PreprocessingHints

app = typer.Typer(
    help="Measure how much translation invariance a model has, and hold it to that.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
MISTAKE, FAILED = 2, 1


def main() -> None:
    """What the command runs."""
    with contextlib.suppress(BrokenPipeError):
        app()


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    """End with one sentence and status 2 where the user can put something right."""
    try:
        yield
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(MISTAKE) from None
    except OSError as error:
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {where}{error.strerror}", err=True)
        raise typer.Exit(MISTAKE) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: run the command again to go on", err=True)
        raise typer.Exit(130) from None


# The groups of options in `--help`, in the order in which they are first used.
Asked = partial(typer.Option, rich_help_panel="Model")
Data = partial(typer.Option, rich_help_panel="Data")
Pixels = partial(typer.Option, rich_help_panel="Preprocessing")
Moves = partial(typer.Option, rich_help_panel="Shifts")
Check = partial(typer.Option, rich_help_panel="CI")
Written = partial(typer.Option, rich_help_panel="Output")
Place = partial(typer.Option, rich_help_panel="Where it is computed")
Choice = partial(typer.Option, rich_help_panel="What is run")
Page = partial(typer.Option, rich_help_panel="Page")

FORMATS = (
    "Your code as FILE.py:FUNCTION or MODULE:FUNCTION, which returns the model; a file .onnx, .pt2 (torch.export), "
    ".pt (TorchScript) or .safetensors (trained here); timm:NAME, torchvision:NAME; models:/NAME@ALIAS or runs:/... of "
    "MLflow; http://.../invocations of a server."
)
RAY = "Address of a Ray cluster: HOST:PORT, or auto to find it; local for this machine's cores."
CORES = "How many cores of this machine to use, with --ray local."
SET = "A parameter and its value, as for `dvc exp run -S`"

# Options that more than one command has.
Classes = Annotated[
    Path | None, Data(metavar="FILE", help="Names of the classes, in the order of the model's outputs, one a line.")
]
Size = Annotated[
    int | None, Pixels(metavar="N", help="Resize each image first, so that its shorter side has N pixels.")
]
Crop = Annotated[
    str | None, Pixels(metavar="N|HxW", help="The middle of the image that the model sees, in pixels: 224, or 192x256.")
]
ChannelOrder = Annotated[
    str | None, Pixels("--channels", metavar="ORDER", help="The colours that the model takes: grey, rgb or bgr.")
]
White = Annotated[
    float | None,
    Pixels("--range", metavar="N", help="Value of a white pixel, before --mean and --std: 1 or 255.", show_default="1"),
]
Mean = Annotated[
    str | None, Pixels(metavar="N,...", help="What is subtracted from pixels: one number, or one for each channel.")
]
Std = Annotated[
    str | None,
    Pixels(
        metavar="N,...",
        help="What pixels are divided by after --mean is subtracted: one number, or one for each channel.",
    ),
]
Cores = Annotated[int | None, Place(metavar="N", help=CORES, show_default="all")]
RayHere = Annotated[str, Place(metavar="ADDRESS", help=RAY)]

EXAMPLES = """Examples:

\b
  shiftlab audit model.onnx --data pictures --size 256 --crop 224 \\
    --channels rgb --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

\b
  shiftlab audit model.py:build --data digits --channels grey \\
    --mean 0 --std 1 --fail-under consistency=0.95"""


@app.command(epilog=EXAMPLES)
def audit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=FORMATS)],
    *,
    weights: Annotated[
        Path | None,
        Asked(metavar="FILE", help="Weights of a timm:NAME or torchvision:NAME: safetensors, or a state dict."),
    ] = None,
    trust_pickle: Annotated[
        bool, Asked("--trust-pickle", help="Read a model file that is a pickle, although it can run any code.")
    ] = False,
    any_accuracy: Annotated[
        bool, Asked("--any-accuracy", help="Audit a model that is right no more often than by chance, too.")
    ] = False,
    data: Annotated[
        str,
        Data(
            metavar="NAME",
            help="A folder with a subfolder of images for each class, or of images without labels; an .npz file with "
            "images and labels; digits (scikit-learn's); the name of a data set of the pipeline; torchvision:NAME.",
        ),
    ],
    images: Annotated[str, Data(metavar="N|all", help="How many images are drawn, each class in its share.")] = "1000",
    classes: Classes = None,
    root: Annotated[
        Path, Data(metavar="FOLDER", help="Where the data sets of torchvision:NAME lie; nothing is downloaded.")
    ] = Path("data"),
    size: Size = None,
    crop: Crop = None,
    interpolation: Annotated[
        str | None,
        Pixels(metavar="NAME", help="How --size resizes: bilinear, bicubic or nearest.", show_default="bilinear"),
    ] = None,
    channels: ChannelOrder = None,
    white: White = None,
    mean: Mean = None,
    std: Std = None,
    layout: Annotated[
        str | None,
        Pixels(
            metavar="AXES",
            help="Order of the axes of a batch: nchw, nhwc, or nhw for grey images.",
            show_default="nchw",
        ),
    ] = None,
    boundary: Annotated[
        list[str] | None,
        Moves(
            metavar="NAME",
            help="What moves in at the edge: zero (black), circular (what moved out at the other side), crop (more "
            "of a larger image). Can be given more than once.",
            show_default="zero and circular",
        ),
    ] = None,
    radius: Annotated[int, Moves(metavar="N", help="The largest shift along each axis, in pixels.")] = 8,
    shifts: Annotated[str, Moves(metavar="N|all", help="How many of the shifts within --radius are drawn.")] = "64",
    seed: Annotated[int, Moves(metavar="N", help="Seed for drawing images and shifts.")] = 0,
    protocol: Annotated[
        str | None,
        Moves(
            metavar="NAME",
            help="Measure what a paper measured, too: zhang2019, chaman2021, mnist-c or kauderer2017.",
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        Check(
            metavar="METRIC=SHARE",
            help="End with status 1 if a metric is lower, as in consistency=0.95. Can be given more than once.",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None, Check(metavar="FILE", help="A file with a METRIC=SHARE on each line; # begins a comment.")
    ] = None,
    out: Annotated[
        Path | None,
        Written(metavar="FOLDER", help="Folder that the report is written to.", show_default="audits/MODEL"),
    ] = None,
    as_json: Annotated[bool, Written("--json", help="Print the metrics as JSON, and nothing else.")] = False,
    quiet: Annotated[bool, Written("--quiet", help="Print nothing but errors.")] = False,
    device: Annotated[
        str, Place(metavar="NAME", help="auto (a GPU where PyTorch finds one), cpu, cuda or mps.")
    ] = "auto",
    threads: Annotated[
        int | None,
        Place(
            metavar="N",
            help="How many threads of the processor to use. Another number changes the last bits of metrics.",
            show_default="all",
        ),
    ] = None,
    ray: Annotated[str | None, Place(metavar="ADDRESS", help=RAY, show_default="without Ray")] = None,
) -> None:
    """Measure a model on shifted images: accuracy, consistency, robust accuracy, with intervals, into a report."""
    with _mistakes():
        from shiftlab import determinism

        determinism.prepare()
        from shiftlab.audits import request

        limits = request.lines(thresholds, "METRIC=SHARE") if thresholds else []
        asked = request.Request(
            ray=ray,
            model=model,
            data=data,
            out=out or _folder(model),
            given=_preprocessing(size, crop, interpolation, channels, layout, white, mean, std),
            boundaries=boundary or [],
            protocol=protocol,
            radius=radius,
            shifts=_number(shifts, "--shifts"),
            count=_number(images, "--images"),
            seed=seed,
            weights=weights,
            classes=classes,
            root=root,
            device=device,
            threads=threads,
            fail_under=[*(fail_under or []), *limits],
            any_accuracy=any_accuracy,
            trust_pickle=trust_pickle,
        )
        audited = request.carry_out(asked, None if quiet or as_json else partial(typer.echo, err=True))
        if as_json:
            typer.echo(json.dumps(audited.summary(), indent=2, allow_nan=False))
        elif not quiet:
            from shiftlab.reports import audit as show

            typer.echo(f"\n{show.table(audited.summary())}\n\nThe report is {asked.out / 'report.html'}.")
        if not audited.held:
            raise typer.Exit(FAILED)


def _folder(model: str) -> Path:
    """Where an audit goes unless told otherwise: a folder named after the model."""
    name = Path(model).stem if Path(model).is_file() else model
    return Path("audits", re.sub(r"[^\w.-]+", "-", name).strip("-."))


def _preprocessing(
    size: int | None,
    crop: str | None,
    interpolation: str | None,
    channels: str | None,
    layout: str | None,
    white: float | None,
    mean: str | None,
    std: str | None,
) -> PreprocessingHints:
    """What the user says of how pixels become inputs."""
    from shiftlab.audits.preprocessing import carried

    if white not in (None, 1, 255):
        raise UserError(f"--range is {white:g}: it is what a white pixel becomes, 1 or 255")
    return carried(
        {
            "resize": size,
            "frame": _sides(crop),
            "interpolation": interpolation,
            "channels": channels,
            "layout": layout,
            "white": white,
            "mean": _numbers(mean, "--mean"),
            "std": _numbers(std, "--std"),
        }
    )


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) for part in parts) or len(parts) > 2:
        raise UserError(f"--crop is {text!r}: give 224, or HEIGHTxWIDTH as in 192x256")
    return (int(parts[0]), int(parts[-1]))


def _numbers(text: str | None, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{option} is {text!r}: give one number, or one for each channel, as in 0.485,0.456,0.406"
        ) from None


def _number(text: str, option: str) -> int | str:
    if text == "all" or (text.isdecimal() and int(text)):
        return text if text == "all" else int(text)
    raise UserError(f"{option} is {text!r}: give a whole number, or all")


@app.command()
def compare(
    audits: Annotated[
        list[Path], typer.Argument(metavar="AUDIT", help="Two or more folders that `shiftlab audit` wrote.")
    ],
    out: Annotated[
        Path | None, Written(metavar="FOLDER", help="Folder to write a page to that shows the audits side by side.")
    ] = None,
    as_json: Annotated[bool, Written("--json", help="Print the numbers as JSON, and nothing else.")] = False,
) -> None:
    """Put audits side by side, with paired tests. Those that were not asked alike are refused."""
    with _mistakes():
        from shiftlab.audits import comparison

        found = comparison.compare(*audits)
        typer.echo(json.dumps(found.summary(), indent=2, allow_nan=False) if as_json else repr(found))
        if out:
            typer.echo(f"\nThe page is {found.save(out)}.", err=as_json)


@app.command()
def play(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help=FORMATS,
            show_default="the best trained models of MLflow's registry",
        ),
    ] = None,
    classes: Classes = None,
    size: Size = None,
    crop: Crop = None,
    channels: ChannelOrder = None,
    white: White = None,
    mean: Mean = None,
    std: Std = None,
    port: Annotated[int, Page(metavar="N", help="Port of the page's address, http://127.0.0.1:N.")] = 7860,
    browser: Annotated[bool, Page(help="Open the page in a browser.")] = True,
) -> None:
    """Draw, and see what models call it wherever you draw it."""
    with _mistakes():
        from shiftlab import determinism

        determinism.prepare()
        from shiftlab.audits import play as playing
        from shiftlab.audits import request

        names = request.lines(classes, "the name of an output") if classes else None
        given = _preprocessing(size, crop, None, channels, None, white, mean, std)
        playing.serve(models or [], given, names, port, browser)


@app.command()
def sweep(
    target: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STAGE",
            help="Stages to run, as for `dvc exp run`.",
            show_default="the whole pipeline",
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        Choice(
            "-S",
            "--set-param",
            metavar="NAME=VALUE",
            help=f"{SET}; NAME=VALUE,VALUE makes an experiment of each value. Can be given more than once.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        Choice(metavar="FILE", help="A file with an experiment on each line: its parameters, besides those of -S."),
    ] = None,
    study: Annotated[
        bool, Choice("--study", help="Run each variant of the study as an experiment, then write its verdicts.")
    ] = False,
    name: Annotated[str, Choice(metavar="NAME", help="What the experiments' names begin with.")] = "sweep",
    ray: RayHere = "local",
    cores: Cores = None,
    status: Annotated[bool, Place("--status", help="Show what runs on which node, and run nothing.")] = False,
) -> None:
    """Run experiments, as many at a time as there is room for, on this machine or on many."""
    with _mistakes():
        from shiftlab.distributed import sweep as sweeping

        if status:
            typer.echo(sweeping.status("auto" if ray == "local" else ray))
            return
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise UserError(f"--name is {name!r}: letters, digits, dots, dashes and underscores make a name of git's")
        of_file = sweeping.lines(file) if file else [""]
        choices = [shlex.join([*(choice or []), *shlex.split(line)]) for line in of_file]
        sweeping.run(sweeping.plan(choices, target or [], name, study), ray, partial(typer.echo, err=True), cores)
        if study:
            sweeping.decide(choice or [])
        else:
            typer.echo("`make show` compares the experiments, `make ui` their runs.")


@app.command()
def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Architecture to find a recipe for: lenet, mlp, resnet and so on.")
    ],
    choice: Annotated[
        list[str] | None,
        Choice(
            "-S",
            "--set-param",
            metavar="NAME=VALUE",
            help=f"{SET}, for all trials: data=fashion. Can be given more than once.",
        ),
    ] = None,
    trials: Annotated[
        int,
        Choice(min=1, metavar="N", help="How many trials the search has, with those of earlier runs of this command."),
    ] = 100,
    minutes: Annotated[float, Choice(min=0, metavar="N", help="Begin no trial after so many minutes.")] = 30,
    faster: Annotated[
        float | None,
        Choice(
            min=1,
            metavar="N",
            help="Try only recipes that train N times as fast as the present one.",
            show_default="any time",
        ),
    ] = None,
    shifted: Annotated[bool, Choice("--shifted", help="Look for accuracy on shifted validation images, too.")] = False,
    seed: Annotated[int, Choice(metavar="N", help="Seed for drawing the recipes to try.")] = 0,
    ray: RayHere = "local",
    cores: Cores = None,
) -> None:
    """Look for a better recipe: learning rate, its schedule, batch size, epochs, by validation accuracy alone."""
    with _mistakes():
        from shiftlab.tuning import search as tuning

        search = tuning.Search(model, tuple(choice or []), trials, minutes, faster, shifted, seed)
        result = tuning.run(search, ray, partial(typer.echo, err=True), cores)
        place = tuning.FOLDER / model
        typer.echo(f"\n{result}\n\n{place} has all trials and their picture; `make ui` shows their runs.")
        typer.echo(f"`dvc exp apply {result.best[0].experiment}` takes over the best.")


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The new project's folder: one that is empty, or not there yet.")
    ],
) -> None:
    """Write a minimal project that audits its model in CI: a model, a workflow, a file of thresholds."""
    with _mistakes():
        from shiftlab.audits import template

        written = template.write(folder)
        typer.echo("\n".join(map(str, written)))
        typer.echo(f"\nPut your model into {folder / 'model.py'}; the workflow and README.md have the command.")


@app.callback()
def _app() -> None:
    """Measure how much translation invariance a model has, and hold it to that."""
