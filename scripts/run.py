"""What `make run` and `make demo` do: run the pipeline, then show its results and where to look further."""

import argparse
import subprocess
import sys
from pathlib import Path

from shiftlab import params, repository
from shiftlab.errors import NoMirrorError, UserError, one_sentence
from shiftlab.repository import dvc, git

# Two minutes on two cores.
DEMO = ["data=digits", "models.resnet.epochs=3", "evaluation.radius=4", "evaluation.regimes=[zero]"]


def main() -> None:
    """Run in the workspace, or with --demo in a copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--demo", action="store_true", help="run on the digits, ResNet-18 for 3 epochs, leaving the workspace as it is"
    )
    demonstrate = parser.parse_args().demo
    repository.require()
    if demonstrate:
        results = demo()
    else:
        run()
        subprocess.run([sys.executable, "scripts/sync.py"], check=True)  # of what DVC restored from its cache
        results = Path("reports/results.md").read_text(encoding="utf-8")
        print("\nThe report is in reports/index.html; reports/ also holds a folder for each model.")
    print(f"\n{results}\n`make ui` opens the runs in MLflow, `dvc plots show` the curves and confusion matrices.")


def run() -> None:
    """`dvc repro`; on the digits where MNIST is neither on disk nor to be had."""
    from shiftlab.data import dataset, sources  # seconds to import

    wanted = params.load().data
    path = dataset.path(wanted.name)
    if not path.exists():
        dvc("checkout", "--quiet", str(path), check=False, capture_output=True)  # DVC's cache may have it
    try:
        if not path.exists():
            sources.acquire(wanted)
    except NoMirrorError as error:
        print(error)
        if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "params.yaml"]).returncode:
            raise UserError(
                "the digits would be run instead, but that composes params.yaml anew and would lose your changes to "
                "it: commit or undo them, or choose yourself with `dvc exp run -S data=digits`"
            ) from None
        said = f"{wanted.name} can't be had: running the same pipeline on the digits that scikit-learn carries."
        print(f"\n{said}\n", flush=True)
        dvc("exp", "run", "--set-param", "data=digits")
    else:
        dvc("repro")


def demo() -> str:
    """Run on the digits as a temporary DVC experiment named `demo`; returns its table."""
    dvc("exp", "remove", "demo", check=False, capture_output=True)  # the last demo's
    choices = [f"--set-param={choice}" for choice in DEMO]
    dvc("exp", "run", "--temp", "--name", "demo", *choices)
    (reference,) = git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/demo").splitlines()
    return git("show", f"{reference}:reports/results.md")


if __name__ == "__main__":
    with one_sentence():
        main()
