"""Two nodes on loopback compute what one machine does, byte for byte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

from tests.project import Project
from tests.servers import Node, free_port

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")
NETWORK = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
"""


@pytest.fixture
def nodes(tmp_path: Path, project: Project) -> Iterator[str]:
    """The address of two nodes of one core each."""
    project.environment |= {
        "PYTHONPATH": str(project.root / "src"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
    }
    head = f"127.0.0.1:{free_port()}"
    both = [Node(head, tmp_path / f"node-{number}", project.environment, number == 0) for number in range(2)]
    for node in both:
        node.folder.mkdir()
    try:
        for node in both:
            node.start()
        both[0].wait()
        yield head
    finally:
        for node in both:
            node.kill()


@pytest.mark.slow
def test_nodes_give_the_bytes_of_one_machine(project: Project, nodes: str, tmp_path: Path) -> None:
    project.compose("data=digits", "model=mlp", "threads=1", "evaluation.boundaries=[circular]")
    project.dvc("repro", "predict")
    predictions = "predictions/mlp-0/circular.safetensors"
    alone = project.read(predictions)
    (project.root / predictions).unlink()
    project.run(sys.executable, "src/predict.py", "mlp", "0", "circular", environment={"SHIFTLAB_RAY": nodes})
    assert project.read(predictions) == alone

    (tmp_path / "network.py").write_text(NETWORK)
    # As pixels come to it they are far too large, which is as good a network as any.
    audit = [
        *SHIFTLAB,
        "audit",
        f"{tmp_path}/network.py:build",
        "--data",
        "digits",
        "--images",
        "300",
        "--any-accuracy",
    ]
    audit += ["--mean", "0", "--std", "1", "--channels", "grey", "--radius", "3", "--shifts", "20", "--threads", "1"]
    project.run(*audit, "--out", str(tmp_path / "alone"))
    project.run(*audit, "--out", str(tmp_path / "spread"), "--ray", nodes)
    files = {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*") if path.is_file()}
    assert {Path("answers/zero.safetensors"), Path("answers/circular.safetensors"), Path("metrics.json")} <= files
    for path in files:
        assert (tmp_path / "spread" / path).read_bytes() == (tmp_path / "alone" / path).read_bytes(), path
