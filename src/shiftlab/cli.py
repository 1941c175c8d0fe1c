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
    from shiftlab.auditing.preprocessing import Carried

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


Threshold = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="FIGURE=SHARE", help="End with status 1 if it is lower: consistency=0.95."),
]


@app.command()
def audit(
    model: Annotated[
        str,
        typer.Argument(
            help="module:function or file.py:function, timm:NAME, torchvision:NAME, a .onnx, .pt2, .pt (TorchScript) "
            "or .safetensors file, models:/NAME@ALIAS or runs:/... of MLflow, http://.../invocations."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A folder with a subfolder for each class, or of unlabelled images; an .npz with images and labels; "
            "digits, a data set of the pipeline, or torchvision:NAME."
        ),
    ],
    regime: Annotated[
        list[str] | None,
        typer.Option(help="What happens at the edge: zero, circular or crop. [default: zero, circular]"),
    ] = None,
    radius: Annotated[int, typer.Option(help="The largest shift along each axis, in pixels.")] = 8,
    shifts: Annotated[str, typer.Option(help="How many of the grid's shifts are drawn, or all.")] = "64",
    images: Annotated[str, typer.Option(help="How many images are drawn, each class in its share, or all.")] = "1000",
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    protocol: Annotated[
        str | None, typer.Option(help="A published one besides: zhang2019, chaman2021, mnist-c or kauderer2017.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="For timm and torchvision: safetensors, or a state dict.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Names of the model's outputs, one on a line.")] = None,
    size: Annotated[int | None, typer.Option(help="Resize images to so many pixels along the shorter side.")] = None,
    crop: Annotated[str | None, typer.Option(help="The middle that the model sees: 224, or HEIGHTxWIDTH.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="Of resizing: bilinear, bicubic or nearest.")] = None,
    channels: Annotated[str | None, typer.Option(help="grey, rgb or bgr.")] = None,
    layout: Annotated[str | None, typer.Option(help="nchw, nhwc or nhw.")] = None,
    white: Annotated[
        float | None, typer.Option("--range", help="What a white pixel is before --mean and --std: 1 or 255.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from pixels: one number, or one for each channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="What they are divided by then.")] = None,
    root: Annotated[Path, typer.Option(help="Where torchvision's data sets lie.")] = Path("data"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the processor. The last bits depend on it.")] = None,
    fail_under: Threshold = None,
    thresholds: Annotated[Path | None, typer.Option(help="A file of them, one on a line; # begins a comment.")] = None,
    any_accuracy: Annotated[bool, typer.Option("--any-accuracy", help="Audit a model at chance, too.")] = False,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read a pickle, which can run any code.")
    ] = False,
    ray: Annotated[
        str | None, typer.Option(help="Have Ray's nodes do the work: HOST:PORT of its head, auto, or local.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report. [default: audits/MODEL]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but mistakes.")] = False,
) -> None:
    """Measure a model on shifted images: accuracy, consistency, worst case, with intervals, into a report."""
    with _mistakes():
        from shiftlab import processor

        processor.prepare()
        from shiftlab.auditing import request

        limits = request.lines(thresholds, "FIGURE=SHARE") if thresholds else []
        asked = request.Request(
            ray=ray,
            model=model,
            data=data,
            out=out or _folder(model),
            given=_preprocessing(size, crop, interpolation, channels, layout, white, mean, std),
            regimes=regime or [],
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
            from shiftlab.show import audit as show

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
) -> Carried:
    """What the user says of how pixels become inputs."""
    from shiftlab.auditing.preprocessing import carried

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
    audits: Annotated[list[Path], typer.Argument(help="Folders that `shiftlab audit` has written, two or more.")],
    out: Annotated[Path | None, typer.Option(help="Folder of a page that has them side by side.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, and nothing else.")] = False,
) -> None:
    """Put audits side by side, with paired tests. Those that were not asked alike are refused."""
    with _mistakes():
        from shiftlab.auditing import comparison

        found = comparison.compare(*audits)
        typer.echo(json.dumps(found.summary(), indent=2, allow_nan=False) if as_json else repr(found))
        if out:
            typer.echo(f"\nThe page is {found.save(out)}.", err=as_json)


@app.command()
def play(
    models: Annotated[
        list[str] | None, typer.Argument(help="As `shiftlab audit` takes them. [default: the registry's champions]")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Names of the models' outputs, one on a line.")] = None,
    size: Annotated[int | None, typer.Option(help="Resize pictures to so many pixels along the shorter side.")] = None,
    crop: Annotated[str | None, typer.Option(help="The middle that the models see: 224, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[str | None, typer.Option(help="grey, rgb or bgr.")] = None,
    white: Annotated[float | None, typer.Option("--range", help="What a white pixel is: 1 or 255.")] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted from pixels.")] = None,
    std: Annotated[str | None, typer.Option(help="What they are divided by then.")] = None,
    port: Annotated[int, typer.Option(help="To listen on, on this machine alone.")] = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Draw, and see what models call it wherever you draw it."""
    with _mistakes():
        from shiftlab import processor

        processor.prepare()
        from shiftlab.auditing import play as playing
        from shiftlab.auditing import request

        names = request.lines(classes, "the name of an output") if classes else None
        given = _preprocessing(size, crop, None, channels, None, white, mean, std)
        playing.serve(models or [], given, names, port, browser)


@app.command()
def sweep(
    target: Annotated[
        list[str] | None, typer.Argument(help="Stages, as `dvc exp run` takes them. [default: the whole pipeline]")
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option("-S", "--set-param", help="As of `dvc exp run`; lr=0.1,0.2 are an experiment each."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Choices of an experiment on each line, besides those.")] = None,
    study: Annotated[bool, typer.Option("--study", help="Run the study's variants, and decide its claims.")] = False,
    ray: Annotated[
        str, typer.Option(help="Ray's address, HOST:PORT of its head or auto; local is this machine's cores.")
    ] = "local",
    cores: Annotated[int | None, typer.Option(help="How many of this machine's, with local. [default: all]")] = None,
    name: Annotated[str, typer.Option(help="What the experiments' names begin with.")] = "sweep",
    status: Annotated[bool, typer.Option("--status", help="Show what runs where, and end.")] = False,
) -> None:
    """Run experiments, as many at a time as there is room for, on this machine or on many."""
    with _mistakes():
        from shiftlab.experiments import sweep as sweeping

        if status:
            typer.echo(sweeping.status("auto" if ray == "local" else ray))
            return
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise UserError(f"--name is {name!r}: letters, digits, dots, dashes and underscores make a name of git's")
        of_file = sweeping.lines(file) if file else [""]
        choices = [shlex.join([*(choice or []), *shlex.split(line)]) for line in of_file]
        asked = sweeping.plan(choices, target or [], name, study)
        sweeping.carry_out(asked, ray, partial(typer.echo, err=True), cores)
        if study:
            sweeping.decide(choice or [])
        else:
            typer.echo("`make show` compares the experiments, `make ui` their runs.")


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="The architecture that a recipe is looked for.")],
    choice: Annotated[
        list[str] | None, typer.Option("-S", "--set-param", help="Of all trials, as of `dvc exp run`: data=fashion.")
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="How many; those of the same search that has been begun count.")
    ] = 100,
    minutes: Annotated[float, typer.Option(min=0, help="After which no trial is begun.")] = 30,
    faster: Annotated[
        float | None, typer.Option(min=1, help="In how many times less training time than now. [default: any]")
    ] = None,
    shifted: Annotated[
        bool, typer.Option("--shifted", help="Look for accuracy on shifted validation images, too.")
    ] = False,
    ray: Annotated[
        str, typer.Option(help="Ray's address, HOST:PORT of its head or auto; local is this machine's cores.")
    ] = "local",
    cores: Annotated[int | None, typer.Option(help="How many of this machine's, with local. [default: all]")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
) -> None:
    """Look for a better recipe: learning rate, its schedule, batch size, epochs, by validation accuracy alone."""
    with _mistakes():
        from shiftlab.experiments import tune as tuning

        asked = tuning.Search(model, tuple(choice or []), trials, minutes, faster, shifted, seed)
        found = tuning.carry_out(asked, ray, partial(typer.echo, err=True), cores)
        typer.echo(
            f"\n{found}\n\n{tuning.FOLDER / model} has all trials and their picture; `make ui` shows their runs."
        )
        typer.echo(f"`dvc exp apply {found.best[0].experiment}` takes over the best.")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")],
) -> None:
    """Write a minimal project that audits its model in CI: a model, a workflow, a file of thresholds."""
    with _mistakes():
        from shiftlab.auditing import template

        written = template.write(folder)
        typer.echo("\n".join(map(str, written)))
        typer.echo(f"\nPut your model into {folder / 'model.py'}; the workflow and README.md have the command.")


@app.callback()
def _app() -> None:
    """Measure how much translation invariance a model has, and hold it to that."""
