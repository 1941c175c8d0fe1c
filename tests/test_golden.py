"""Short trainings and predictions of every architecture keep their bytes: the golden test.

Where it passes, an edit has changed no byte of weights and predictions, and `dvc commit` of the committed results is
legitimate. Where a digest has changed, the results have to be made anew. Digests are committed for each kind of
processor and PyTorch that they were made on: tests/golden.json, to which `python scripts/golden.py --write` adds those
of this kind, or renews them. On another kind the tree is compared with the commit before, of which the script of that
commit makes the digests.
"""

import json
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from tests.helpers import ROOT, isolated_environment

Digests = dict[str, dict[str, dict[str, str]]]  # by kind, by training


def digests_of(tree: Path) -> Digests:
    """Run a tree's own script with its own code."""
    environment = {**isolated_environment(), "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tree / "scripts/golden.py")]
    process = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    digests: Digests = json.loads(process.stdout)
    return digests


def renewed(before: Digests, after: Digests) -> set[str]:
    """Return the trainings that have another digest on some kind that both have."""
    return {
        training
        for kind in before.keys() & after.keys()
        for training in before[kind].keys() & after[kind].keys()
        if before[kind][training] != after[kind][training]
    }


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True)


def digests_of_commit_before(folder: Path) -> Digests:
    """Return the digests of HEAD where the code differs from it, else of the commit before; skip where there is none.

    Trainings whose digests were renewed since are left out.
    """
    commit = "HEAD" if git("diff", "--quiet", "HEAD", "--", "src").returncode == 1 else "HEAD^"
    archive = git("archive", commit, "src", "scripts/golden.py", "tests/golden.json")
    if archive.returncode:
        pytest.skip("no digests of this kind of processor are committed, and no commit before has them to compare with")
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
    changed = renewed(json.loads((folder / "tests/golden.json").read_text()), json.loads(golden.DIGESTS.read_text()))
    ((kind, trainings),) = digests_of(folder).items()
    return {kind: {name: digests for name, digests in trainings.items() if name not in changed}}


def test_trainings_and_predictions_keep_their_bytes(tmp_path: Path) -> None:
    ((kind, trainings),) = digests_of(ROOT).items()
    committed: Digests = json.loads(golden.DIGESTS.read_text(encoding="utf-8"))
    if kind in committed:
        assert trainings == committed[kind], "python scripts/golden.py --write, if the bytes are to change"
        return
    before = digests_of_commit_before(tmp_path)[kind]
    common = trainings.keys() & before.keys()
    assert common
    assert {name: trainings[name] for name in common} == {name: before[name] for name in common}


def test_every_architecture_is_trained() -> None:
    from shiftlab.models import architectures

    trained = {name.partition(",")[0] for name in golden.cases()}
    assert trained == set(architectures.names())
    for kind, trainings in json.loads(golden.DIGESTS.read_text(encoding="utf-8")).items():
        assert trainings.keys() == golden.cases().keys(), f"of {kind}: python scripts/golden.py --write"


def test_digest_tells_one_bit() -> None:
    import torch

    weights = torch.ones(3)
    before = golden.digest([weights])
    assert golden.digest([torch.ones(3)]) == before
    weights.view(torch.int32)[1] ^= 1
    assert golden.digest([weights]) != before
