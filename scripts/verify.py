"""What `make verify` does: train and predict again, in a temporary copy of the last commit, and compare every byte.

The first seed's outputs are held against dvc.lock. What is portable has the same bytes on every processor; what is not
may differ with another kind of processor, so that a difference is a failure on the same kind alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from shiftlab import files, repository
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence

CHEAP = ["mlp", "lenet"]
# What the bytes of portable results depend on, of `determinism.description`.
PORTABLE = ("determinism", "instructions", "threads", "torch", "accelerator")


def main() -> None:
    """Exit status 1 where an output differs that should not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"architectures, or all (default: {' '.join(CHEAP)})")
    asked = parser.parse_args().models
    repository.require()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        tree = subprocess.run(["git", "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "--extract", "--directory", folder], input=tree, check=True)
        wanted = params.load(copy / "params.yaml")
        lock = YAML(typ="safe").load(copy / "dvc.lock")["stages"]
        models = chosen(asked, list(wanted.models))
        refuse_without_entries(lock, models, wanted.seeds[0])
        told = json.loads((copy / "metrics/comparison.json").read_text(encoding="utf-8"))["made_on"]
        committed = {model: told[f"{model}-{wanted.seeds[0]}"] for model in models}
        differing = compare(run(copy, models, wanted), copy, lock)
        sys.exit(verdict(differing, committed, {model: made_on(copy, model, wanted.seeds[0]) for model in models}))


def chosen(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The models to verify, of those that params.yaml selects.

    Raises:
        UserError: it does not select one.
    """
    if list(asked) == ["all"]:
        return list(known)
    models = list(asked) or [model for model in CHEAP if model in known] or list(known)
    if unknown := [model for model in models if model not in known]:
        raise UserError(f"no model {unknown[0]!r} in the committed params.yaml: choose of {', '.join(known)}, or all")
    return models


def refuse_without_entries(lock: Mapping[str, Any], models: Sequence[str], seed: int) -> None:
    """End where dvc.lock has nothing to compare with.

    Raises:
        UserError: it lacks a model's training.
    """
    for model in models:
        if f"train@{model}-{seed}" not in lock:
            raise UserError(
                f"the committed dvc.lock has no entry for {model} with seed {seed}, so nothing to compare with: "
                "the code has changed since the results were made. `make reproduce` and a commit of dvc.lock make one"
            )


def run(copy: Path, models: Sequence[str], wanted: params.Params) -> list[str]:
    """Run the stages in the copy; returns their names in dvc.lock."""
    published = Path("data", "published").resolve()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    environment["DVC_ROOT"] = str(copy)  # its own store for the runs
    for source in published.glob("*"):  # what was downloaded and verified before
        (copy / "data" / "published").mkdir(parents=True, exist_ok=True)
        (copy / "data" / "published" / source.name).symlink_to(source)
    stages = {"download": ["src/download.py"]}
    for model in models:
        seed = str(wanted.seeds[0])
        stages[f"train@{model}-{seed}"] = ["src/train.py", model, seed]
        stages[f"predict@{model}-{seed}"] = ["src/predict.py", model, seed]
    for command in stages.values():
        if subprocess.run([sys.executable, *command], cwd=copy, env=environment).returncode:
            raise UserError(f"`python {' '.join(command)}` failed in a copy of the last commit, for the reason above")
    return list(stages)


def compare(stages: Sequence[str], copy: Path, lock: Mapping[str, Any]) -> list[str]:
    """Tell of every output whether it is that of dvc.lock; returns those that are not."""
    differing = []
    print("\n| output | committed | here |\n|---|---|---|")
    for stage in stages:
        for output in lock[stage]["outs"]:
            path = output["path"]
            if path.endswith(".json"):
                continue  # which tells of the machine
            md5 = digest(copy / path)
            same = md5 == output["md5"]
            print(f"| {path} | {output['md5']} | {'equal' if same else md5} |", flush=True)
            if not same:
                differing.append(path)
    return differing


def digest(path: Path) -> str:
    """Return DVC's digest of an output, a file or a folder."""
    if path.is_file():
        return files.md5(path)
    from shiftlab.tracking.history import folder_digest  # with DVC, seconds to import

    return folder_digest(path)


def made_on(copy: Path, model: str, seed: int) -> dict[str, str]:
    """The processor and the versions that the weights in the copy were made with."""
    found: dict[str, str] = json.loads((copy / f"models/{model}-{seed}.json").read_text(encoding="utf-8"))
    return found


def same_bytes_expected(committed: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Return whether outputs made on the one kind of machine should have the bytes of those made on the other."""

    def kinds(of_models: Mapping[str, Any]) -> list[Any]:
        return [
            {name: value for name, value in one.items() if one.get("threads") != "any number" or name in PORTABLE}
            for one in of_models.values()
        ]

    return kinds(committed) == kinds(here)


def verdict(differing: Sequence[str], committed: Mapping[str, Any], here: Mapping[str, Any]) -> int:
    """Say what came of it, and on what; returns the exit status."""
    print()
    for side, of_models in (("committed", committed), ("here", here)):
        for about in dict.fromkeys(json.dumps(one) for one in of_models.values()):
            print(f"{side}: {', '.join(f'{name} {value}' for name, value in json.loads(about).items())}")
    if not differing:
        print("equal: every output has the bytes of dvc.lock")
        return 0
    alike = same_bytes_expected(committed, here)
    print(
        f"different: {len(differing)} outputs have other bytes than dvc.lock, "
        + ("which should not be" if alike else "made with another processor or other versions")
    )
    return int(alike)


if __name__ == "__main__":
    with one_sentence():
        main()
