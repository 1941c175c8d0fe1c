"""What `make run`, `make demo` and `make reproduce` do: run the pipeline, and show its answer and where to look.

`make run` takes the choices of `conf/preset/quick.yaml`, and leaves them in params.yaml.
"""

import argparse
import json
import os
import subprocess
import tempfile
import textwrap
from pathlib import Path

from shiftlab import determinism, files, repository
from shiftlab.config import params
from shiftlab.errors import NoMirrorError, UserError, one_sentence
from shiftlab.pipeline import durations, runner
from shiftlab.repository import compose, dvc, git

PARAMS, RESULTS, STUDY = Path("params.yaml"), Path("metrics/comparison.json"), Path("reports/study/index.html")
COPY = Path("docs/report/study/index.html")
QUICK, ON_DIGITS = ["preset=quick"], ["preset=quick_digits"]
DEMO = [*ON_DIGITS, "threads=2"]  # one stage after the other
JOBS = 2
NOT_MNIST = "These are scikit-learn's digits, not MNIST."


def main() -> None:
    """Run in the workspace, or with --demo in a copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--demo", action="store_true", help="run on scikit-learn's digits, in a copy of the workspace")
    what.add_argument("--everything", action="store_true", help="run what the committed params.yaml says")
    parser.add_argument("--jobs", type=int, default=None, help=f"stages at a time (default: {JOBS})")
    arguments = parser.parse_args()
    repository.require()
    if arguments.demo:
        print(demo())
        return
    with runner.exclusive():
        if arguments.everything:
            reproduce(arguments.jobs or JOBS)
        else:
            quick(arguments.jobs or JOBS)


def quick(jobs: int) -> None:
    """Answer the question in minutes, on MNIST or, where it can't be downloaded, on scikit-learn's digits."""
    refuse_own_parameters("make run")
    before = PARAMS.read_bytes()
    compose(QUICK, PARAMS)
    try:
        get(params.load())
    except NoMirrorError as error:
        if os.environ.get("SHIFTLAB_MIRROR"):  # a copy that the user meant
            files.write(PARAMS, before)
            raise
        print(f"{wrapped(error.reason)}\n{NOT_MNIST}\n", flush=True)
        compose(ON_DIGITS, PARAMS)
    chosen = params.load()
    train, test = durations.images(chosen)
    print(
        f"{len(chosen.models)} models, each trained once on {train:,} images, and tested on {test:,} that are\n"
        f"moved by up to {chosen.evaluation.radius} pixels. Ctrl-C stops it at any time; `make run` goes on.",
        flush=True,
    )
    if COPY.exists() and not STUDY.exists():  # the study has not run here, but the report leads to its page
        files.write(STUDY, COPY.read_bytes())
    stages = repository.stages()
    ratio = runner.run(stages, durations.expected(chosen, stages), jobs, "make run")
    print(f"\n{answer(RESULTS.read_text(encoding='utf-8'))}")
    if chosen.data.source == "digits":
        print(NOT_MNIST)
    takes = f"{runner.in_words(seconds_of_everything(ratio))} here" if ratio else "some hours"
    print(
        f"""
Look at reports/index.html in a browser: drag a digit, compare the models.
make play    draw a digit, and see what the models predict
make ui      every run in MLflow

These numbers are of one training each, on few images. `make reproduce` makes
README's tables, on all of MNIST with five seeds, in {takes}.
It can be stopped at any time. `make restore` brings the committed params.yaml
and results back; with those, `.venv/bin/dvc repro` does what `make reproduce`
does."""
    )


def reproduce(jobs: int) -> None:
    """Make everything that the committed params.yaml asks for, which README's tables show."""
    refuse_own_parameters("make reproduce")
    subprocess.run(["git", "restore", "--", str(PARAMS)], check=True)
    chosen = params.load()
    get(chosen)
    stages = repository.stages()
    runner.run(stages, durations.expected(chosen, stages), jobs, "make reproduce")
    print(f"\n{answer(RESULTS.read_text(encoding='utf-8'))}\nThe report is reports/index.html.")


def demo() -> str:
    """Run on the digits as a temporary DVC experiment named `demo`; returns its answer."""
    os.environ |= repository.identity()
    dvc("exp", "remove", "demo", check=False, capture_output=True)  # the last demo's
    dvc("exp", "run", "--temp", "--name", "demo", *(f"--set-param={choice}" for choice in DEMO))
    (reference,) = git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/demo").splitlines()
    results = git("show", f"{reference}:{RESULTS}")
    return f"\n{answer(results)}\n{NOT_MNIST}\n\n`make ui` shows the runs in MLflow; `make run` answers on MNIST."


def answer(results: str) -> str:
    """The table and the sentence that answer, from the content of metrics/comparison.json."""
    from shiftlab.reports import report  # seconds to import

    summary = json.loads(results)
    return f"{report.answer_table(summary, terminal=True).text()}\n{wrapped(report.short_answer(summary))}"


def wrapped(text: str) -> str:
    """Break a text into lines that fit a terminal of 80 columns; an address stays whole."""
    return textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False)


def get(chosen: params.Params) -> None:
    """Download what the data set is made from, unless it is here.

    Raises:
        NoMirrorError: it can't be downloaded.
    """
    from shiftlab.data import dataset, sources  # seconds to import

    path = dataset.path(chosen.data.name)
    if not path.exists():
        dvc("checkout", "--quiet", str(path), check=False, capture_output=True)  # DVC's cache may have it
    if not path.exists():
        sources.get(chosen.data.source).load(chosen.data)


def refuse_own_parameters(command: str) -> None:
    """End where params.yaml holds a user's own changes, which the command would replace.

    Raises:
        UserError: it does; what to do about it.
    """
    ours = [committed(), *map(composed, (QUICK, ON_DIGITS))]
    if PARAMS.read_text(encoding="utf-8") not in ours:
        raise UserError(
            f"params.yaml is not the committed one, but has changes of yours or of an experiment, which `{command}` "
            "would replace: run it as it is with `dvc repro`, or take them back with `git restore params.yaml`"
        )


def composed(choices: list[str]) -> str:
    """What params.yaml is with these choices."""
    with tempfile.TemporaryDirectory() as folder:
        compose(choices, Path(folder, "params.yaml"))
        return Path(folder, "params.yaml").read_text(encoding="utf-8")


def committed() -> str:
    """What params.yaml is in the last commit."""
    return git("show", "HEAD:params.yaml")


def seconds_of_everything(ratio: float) -> float:
    """Estimate the seconds of `make reproduce` on a machine whose native stages take `ratio` times what is expected."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text(committed(), encoding="utf-8")
        everything = params.load(path)
    trainings = [f"{model}-{seed}" for model in everything.models for seed in everything.seeds]
    stages = ["download", "compare", *(f"{kind}@{one}" for kind in ("train", "evaluate") for one in trainings)]
    stages += [f"predict@{one}" for one in trainings]
    seconds = sum(durations.expected(everything, stages).values()) * ratio / JOBS
    held = everything.determinism == "portable" and determinism.has("avx512f")
    return seconds * (durations.PORTABLE if held else 1)


if __name__ == "__main__":
    with one_sentence():
        main()
