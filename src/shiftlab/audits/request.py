"""An audit as somebody asks for it: names in, everything read, the report written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from shiftlab import determinism, device
from shiftlab.audits import adapters, asking, images, presets
from shiftlab.audits import audit as auditing
from shiftlab.audits.audit import Audit
from shiftlab.audits.checks import Check
from shiftlab.audits.preprocessing import Preprocessing, PreprocessingHints
from shiftlab.config.params import BoundaryName, DeviceName
from shiftlab.errors import UserError, extra
from shiftlab.pipeline import arguments

BOUNDARIES: Sequence[BoundaryName] = ("zero", "circular")  # unless others are asked for


@dataclass(frozen=True)
class Request:
    """What `shiftlab audit` was told; docs/audit.md says what each is."""

    model: str
    data: str
    out: Path
    given: PreprocessingHints  # of how pixels become inputs
    boundaries: Sequence[str] = ()
    protocol: str | None = None
    radius: int = 8
    shifts: int | str = 64
    count: int | str = 1000
    seed: int = 0
    weights: Path | None = None
    classes: Path | None = None
    root: Path = Path("data")
    device: str = "auto"
    threads: int | None = None
    fail_under: Sequence[str] = ()
    any_accuracy: bool = False
    trust_pickle: bool = False
    ray: str | None = None


def carry_out(request: Request, tell: Callable[[str], object] | None) -> Audit:
    """Read the model and the images, audit, write the report; log a run where MLflow is configured.

    Args:
        tell: takes sentences for people as they come up; without it there is no progress bar either.

    Raises:
        UserError: something that was asked for is not there, or can't be.
    """
    published = presets.of(request.protocol) if request.protocol else None
    boundaries = request.boundaries or ([published.boundary] if published else BOUNDARIES)
    asked = auditing.protocol(
        cast("Sequence[BoundaryName]", boundaries), request.radius, request.shifts, request.count, request.seed
    )
    threads = request.threads or (1 if request.ray else None)  # a node's core for each of many tasks
    if threads:
        determinism.use(threads)
    chosen = device.pick(cast("DeviceName", request.device))
    every = images.of(request.data, request.root)
    some = every.chosen(request.count, request.seed)
    size = some.size()
    names = lines(request.classes, "the name of an output") if request.classes else None
    outputs = len(names or every.classes or ()) or None
    given = adapters.Given(request.weights, request.trust_pickle, chosen, outputs, size, request.given.frame)
    model = adapters.load(request.model, given)
    if names:
        model = replace(model, classes=tuple(names))
    preprocessing = Preprocessing.of(request.given.merge(model.carried), size)
    say = tell or (lambda _: None)
    say(f"{model.name} ({model.kind}) sees: {preprocessing}")

    record = _recorder(some.name, request.out)
    total = len(asked.boundaries) * asking.passes(asked, len(some)) + (published.passes * len(some) if published else 0)
    kept = request.out / auditing.KEPT
    with ExitStack() as open_until_done:
        bar = open_until_done.enter_context(arguments.progress(total, model.name, hidden=tell is None))
        ask = None
        if request.ray:
            from shiftlab.audits import spreading  # with Ray, which not everybody has
            from shiftlab.distributed import engine

            open_until_done.enter_context(engine.connected(request.ray))
            recipe = spreading.recipe(request.model, given, preprocessing, asked, threads or 1)
            ask = spreading.on_nodes(recipe, bar.update)

        def on_checked(check: Check | None, notes: Sequence[str]) -> None:
            bar.clear()
            for words in (*notes, *([check.in_words(), *check.hints()] if check else [])):
                say(words)

        found = auditing.run(
            model,
            some,
            preprocessing,
            asked,
            chosen,
            kept=kept,
            fail_under=request.fail_under,
            any_accuracy=request.any_accuracy,
            preset=request.protocol,
            ask=ask,
            on_checked=on_checked,
            on_progress=bar.update,
        )
    found.save(request.out)
    record(found)
    shutil.rmtree(kept, ignore_errors=True)
    return found


def lines(path: Path, what: str) -> list[str]:
    """The lines of a user's text file, without comments, which `#` begins, and empty ones.

    Args:
        what: stands on each, for a message.

    Raises:
        UserError: no such file, not text, or nothing in it; a line that is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: it has to be a text file with {what} on each line") from None
    found = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not found or len(set(found)) < len(found):
        raise UserError(f"{path} is empty, or has a line twice: it has to have {what} on each line")
    return found


def _recorder(data: str, folder: Path) -> Callable[[Audit], object]:
    """What logs an audit where MLflow is configured; a store that can't be reached stops before anything is measured.

    Raises:
        UserError: MLflow is not installed, or its store can't be used.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return lambda _: None
    with extra("mlflow"):
        from shiftlab.tracking import recording
        from shiftlab.tracking.store import connect
    store = connect(data)
    return lambda found: recording.log_audit(store, found.summary(), folder)
