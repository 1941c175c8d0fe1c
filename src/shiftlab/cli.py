"""The command `shiftlab`: arguments in, one call each. Exit status 0: done; 1: a threshold was missed; 2: all else."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from shiftlab import files
from shiftlab.config.audit import PANELS, CommandOptions, PreprocessingHints, display, flag, read
from shiftlab.errors import UserError, one_sentence

MISTAKE, FAILED = 2, 1  # exit statuses


class Commands(TyperGroup):
    """The commands, each of which ends with one of three exit statuses."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command that the arguments name. SystemExit: 0, 1 or 2, as the module's first line says."""
        try:
            return super().main(*args, **extra)
        except SystemExit as end:
            # Typer and Rich end with 1 of their own where nobody reads on.
            by_command = isinstance(end.__context__, typer.Exit) and end.code == FAILED
            sys.exit(end.code if by_command or not end.code else MISTAKE)

    def invoke(self, context: Any) -> Any:
        """Run a command, whose every end but those that it means is a mistake, with a sentence or a bug's traceback."""
        try:
            with one_sentence(MISTAKE, of_network=True):
                return super().invoke(context)
        except BaseException as error:
            if hasattr(error, "exit_code"):  # Typer's own
                raise
            if not isinstance(error, SystemExit):
                with suppress(OSError):  # nobody may read it
                    traceback.print_exc()
            sys.exit(MISTAKE)


app = typer.Typer(
    cls=Commands,
    help="Measure how much translation invariance a model has, and hold it to that.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command."""
    try:
        for argument in sys.argv:
            if argument != argument.encode(errors="replace").decode():  # which no report could hold
                sys.stderr.write(f"error: {argument!r} is not in UTF-8: rename what it names\n")
                sys.exit(MISTAKE)
        app()
    finally:
        try:
            if sys.stdout:  # a shell can close it
                sys.stdout.flush()
        except OSError:  # Python would try again, and end with a status of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print a result; where its reader has left, as `head` does, the exit status tells what is left to tell."""
    with suppress(BrokenPipeError):
        typer.echo(text)


Written = partial(typer.Option, rich_help_panel="Output")
Place = partial(typer.Option, rich_help_panel="Where it is computed")
Choice = partial(typer.Option, rich_help_panel="What is run")
Page = partial(typer.Option, rich_help_panel="Page")

FIELDS = CommandOptions.model_fields
Cores = Annotated[
    int | None, Place(metavar="N", help="How many cores of this machine to use, with --ray local.", show_default="all")
]
Ray = Annotated[str, Place(metavar="ADDRESS", help=FIELDS["ray"].description)]


def _set_param(detail: str) -> Any:
    words = f"A parameter and its value, as for `dvc exp run -S`{detail}. Can be given more than once."
    return Choice("-S", "--set-param", metavar="NAME=VALUE", help=words)


def _parameter(name: str) -> inspect.Parameter:
    """Return the parameter of a command that offers a field of `CommandOptions`, as Typer reads it."""
    field, shown = FIELDS[name], display(CommandOptions, name)
    kinds = [
        getattr(kind, "__origin__", kind)  # of an Annotated
        for kind in get_args(field.annotation) or [field.annotation]
        if kind is not type(None)
    ]
    kind: Any = kinds[0] if kinds[0] in (bool, int, float, Path) and len(kinds) == 1 else str
    default = inspect.Parameter.empty if field.is_required() else field.default
    if shown["repeated"]:
        kind, default = list[str], None
    if isinstance(default, int | str) and kind is str:
        default = str(default)
    if shown["panel"] is None:
        option = typer.Argument(metavar=shown["metavar"], help=field.description)
    else:
        option = typer.Option(
            flag(CommandOptions, name),
            metavar=shown["metavar"],
            help=field.description,
            rich_help_panel=shown["panel"],
            show_default=shown["show"] or True,
        )
    annotation: Any = Annotated[kind | None if default is None else kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _order(name: str) -> tuple[int, bool]:
    """Return the place of a field in the help: by its panel, required fields first."""
    panel = display(CommandOptions, name)["panel"]
    return (PANELS.index(panel) if panel else -1, not FIELDS[name].is_required())


def offers(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command options for fields of `CommandOptions`; it gets their values as its first argument, by field."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**arguments: Any) -> None:
            values = {name: value for name in names if (value := arguments.pop(name)) not in (None, [])}
            function(values, **arguments)

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {}
        parameters = sorted([*map(_parameter, names), *own], key=lambda parameter: parameter.kind)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


EXAMPLES = """Examples:

\b
  shiftlab audit model.onnx --data pictures --size 256 --crop 224 \\
    --channels rgb --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

\b
  shiftlab audit model.py:build --data digits --channels grey \\
    --mean 0 --std 1 --fail-under consistency=0.95"""


@app.command(epilog=EXAMPLES)
@offers(*sorted(FIELDS, key=_order))
def audit(
    values: dict[str, Any],
    *,
    regime: Annotated[list[str] | None, typer.Option(hidden=True)] = None,  # the name of an earlier version
) -> None:
    """Measure a model on shifted images: accuracy, consistency, robust accuracy, with intervals, into a report."""
    options = read(CommandOptions, {**values, "regime": regime}, typed=True)
    from shiftlab import determinism

    determinism.prepare("native")
    from shiftlab.audits import run

    silent = options.quiet or options.as_json
    result = run.run(options, silent)
    if options.as_json:
        say(json.dumps(result.summary(), indent=2, allow_nan=False))
    elif not options.quiet:
        say(f"\n{result.table()}\n\nThe report is {options.folder / 'report.html'}.")
    if not result.passed:
        raise typer.Exit(FAILED)


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
    """Put audits side by side, with paired tests. Audits of different images or shifts are refused."""
    from shiftlab.audits import comparison

    result = comparison.compare(*audits)
    say(json.dumps(result.summary(), indent=2, allow_nan=False) if as_json else repr(result))
    if out:
        typer.echo(f"\nThe page is {result.save(out)}.", err=as_json)


@app.command()
@offers("classes", "resize", "frame", "channels", "white", "mean", "std")
def play(
    values: dict[str, Any],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help=FIELDS["model"].description,
            show_default="the best trained models of MLflow's registry",
        ),
    ] = None,
    *,
    port: Annotated[int, Page(metavar="N", help="Port of the page's address, http://127.0.0.1:N.")] = 7860,
    browser: Annotated[bool, Page(help="Open the page in a browser.")] = True,
) -> None:
    """Draw, and see what models call it wherever you draw it."""
    names = values.pop("classes", None)
    hints = read(PreprocessingHints, values, typed=True)
    from shiftlab import determinism

    determinism.prepare("native")
    from shiftlab.audits import play as demo

    classes = files.lines(names, "the name of an output", comments=False) if names else None
    demo.serve(models or [], hints, classes, port, browser)


@app.command()
def sweep(
    target: Annotated[
        list[str] | None,
        typer.Argument(metavar="STAGE", help="Stages to run, as for `dvc exp run`.", show_default="the whole pipeline"),
    ] = None,
    choice: Annotated[list[str] | None, _set_param("; NAME=VALUE,VALUE makes an experiment of each value")] = None,
    file: Annotated[
        Path | None,
        Choice(metavar="FILE", help="A file with an experiment on each line: its parameters, besides those of -S."),
    ] = None,
    study: Annotated[
        bool, Choice("--study", help="Run each variant of the study as an experiment, then write its verdicts.")
    ] = False,
    name: Annotated[str, Choice(metavar="NAME", help="What the experiments' names begin with.")] = "sweep",
    ray: Ray = "local",
    cores: Cores = None,
    status: Annotated[bool, Place("--status", help="Show what runs on which node, and run nothing.")] = False,
) -> None:
    """Run experiments, as many at a time as there is room for, on this machine or on many."""
    from shiftlab.distributed import engine
    from shiftlab.distributed import sweep as sweeping

    if status:
        with engine.connected("auto" if ray == engine.LOCAL else ray):
            say(engine.status())
        return
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(f"--name is {name!r}: letters, digits, dots, dashes and underscores make a name of git's")
    lines = files.lines(file, "the choices of an experiment") if file else [""]
    choices = [f"{shlex.join(choice or [])} {line}".strip() for line in lines]
    sweeping.run(sweeping.plan(choices, target or [], name, study), ray, partial(typer.echo, err=True), cores)
    if not study:
        say("`make show` compares the experiments, `make ui` their runs.")
    elif subprocess.run([sys.executable, "scripts/run_study.py", *(choice or [])]).returncode:
        raise UserError("the study could not be decided, for the reason above")


@app.command()
def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Architecture to find a recipe for: lenet, mlp, resnet and so on.")
    ],
    choice: Annotated[list[str] | None, _set_param(", for all trials: data=fashion")] = None,
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
    ray: Ray = "local",
    cores: Cores = None,
) -> None:
    """Look for a better recipe: learning rate, its schedule, batch size, epochs, by validation accuracy alone."""
    from shiftlab.tuning import search as tuning

    search = tuning.Search(model, tuple(choice or []), trials, minutes, faster, shifted, seed)
    result = tuning.run(search, ray, partial(typer.echo, err=True), cores)
    place = tuning.FOLDER / model
    say(f"\n{result}\n\n{place} has all trials and their picture; `make ui` shows their runs.")
    say(f"`dvc exp apply {result.best[0].experiment}` takes over the best.")


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The new project's folder: one that is empty, or not there yet.")
    ],
) -> None:
    """Write a minimal project that audits its model in CI: a model, a workflow, a file of thresholds."""
    from shiftlab.audits import template

    say("\n".join(map(str, template.write(folder))))
    say(f"\nPut your model into {folder / 'model.py'}; the workflow and README.md have the command.")
