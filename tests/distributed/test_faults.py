"""A sweep over two nodes whose every part is killed at random moments: nothing is lost, nothing is recorded twice."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

from tests.project import Project
from tests.servers import KEYS, Node, free_port, running

KILLS = 20
TRIES = 5  # of a sweep that nothing disturbs any more
PATIENCE_S = 1800  # with it
SEED = int(os.environ.get("SHIFTLAB_TEST_SEED", "0"))
RATES = (0.001, 0.002, 0.003, 0.004)
SHIFTLAB = [sys.executable, "-c", "from shiftlab.cli import main; main()"]


@contextmanager
def mlflow(folder: Path, environment: Mapping[str, str], address: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1", "--host", "127.0.0.1"]
    with running([*command, "--port", address.rpartition(":")[2]], folder, environment, f"{address}/health") as one:
        yield one


def weights(lock: str) -> dict[str, str]:
    """The digests of the weights that a dvc.lock names."""
    stages = YAML(typ="safe").load(lock)["stages"]
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].endswith(".safetensors") and "models" in out["path"]}


@pytest.mark.slow
def test_nothing_is_lost_whatever_is_killed(
    project: Project, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(SEED)
    nothing = tmp_path / "nothing"
    nothing.touch()
    project.environment |= {
        **KEYS,
        "AWS_CONFIG_FILE": str(nothing),
        "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
        "no_proxy": "*",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "PYTHONPATH": str(project.root / "src"),
    }
    project.compose("data=digits", "model=mlp", "threads=1")
    project.dvc("remote", "add", "--default", "storage", "s3://dvc/cache")
    project.dvc("remote", "modify", "storage", "endpointurl", s3)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "where data is shared")
    bare = tmp_path / "shared.git"
    project.run("git", "init", "--quiet", "--bare", str(bare))
    project.git("remote", "add", "origin", str(bare))
    project.git("push", "--quiet", "origin", "HEAD:refs/heads/main")

    address = f"http://127.0.0.1:{free_port()}"
    head = f"127.0.0.1:{free_port()}"
    of_nodes = dict(project.environment)
    project.environment |= {"MLFLOW_TRACKING_URI": address}
    nodes = [Node(head, tmp_path / f"node-{number}", of_nodes, number == 0) for number in range(2)]
    for node in nodes:
        node.folder.mkdir()
    log = tmp_path / "driver.log"
    choices = ["-S", "data=digits", "-S", "model=mlp", "-S", f"models.mlp.lr={','.join(map(str, RATES))}"]
    sweep = [*SHIFTLAB, "sweep", "--ray", head, *choices, "train@mlp-0"]

    def drive() -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            started = subprocess.Popen(sweep, cwd=project.root, env=project.environment, stdout=output, stderr=output)
        servers.callback(started.kill)
        return started

    killed: list[str] = []
    with ExitStack() as servers:
        serving = servers.enter_context(ExitStack())
        serving.enter_context(mlflow(tmp_path, of_nodes, address))
        for node in nodes:
            servers.callback(node.kill)
            node.start()
            nodes[0].wait()
        driver = drive()
        while len(killed) < KILLS:
            time.sleep(chance.uniform(1, 8))
            if driver.poll() is not None:
                driver = drive()
            victim = chance.choice(["process", "process", "process", "process", "node", "driver", "server"])
            if victim == "process":
                # A task, or anything that it has started: DVC, git, a stage.
                running_now = [
                    one for node in nodes for one in node.below() if "raylet" not in one.name() and is_work(one)
                ]
                if not running_now:
                    continue
                with suppress(psutil.NoSuchProcess):
                    chance.choice(running_now).kill()
            elif victim == "node":
                nodes[1].kill()
                time.sleep(chance.uniform(0, 3))
                nodes[1].start()
            elif victim == "driver":
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                driver = drive()
            else:
                serving.close()
                time.sleep(chance.uniform(0, 5))
                serving.enter_context(mlflow(tmp_path, of_nodes, address))
            killed.append(victim)
        undisturbed = 0
        while driver.wait(PATIENCE_S) != 0:
            undisturbed += 1
            assert undisturbed < TRIES, log.read_text()
            driver = drive()

        references = project.git("for-each-ref", "--format=%(refname)", "refs/exps/*/*/*").split()
        names = [one.rpartition("/")[2] for one in references]
        assert sorted(name.rpartition("-")[2] for name in names) == ["1", "2", "3", "4"]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("no_proxy", "*")
        client = MlflowClient(address)
        (experiment,) = [one for one in client.search_experiments() if one.name == "shiftlab-digits"]
        runs = client.search_runs([experiment.experiment_id])
        finished = [run for run in runs if run.info.status == "FINISHED"]
        recorded = {run.data.tags["dvc.experiment"]: run.data.tags["weights.md5"] for run in finished}
        assert len(finished) == len(recorded) == len(RATES)
        assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}

    found = {}
    for name, reference in zip(names, references, strict=True):
        (found[name],) = weights(project.git("show", f"{reference}:dvc.lock")).values()
    assert found == recorded
    # Undisturbed, on this machine alone, the same choices make the same bytes.
    project.environment.pop("MLFLOW_TRACKING_URI")
    alone = ("data=digits", "model=mlp", "threads=1", f"models.mlp.lr={RATES[0]}")
    project.dvc("exp", "run", "--name", "alone", *(f"--set-param={choice}" for choice in alone), "train@mlp-0")
    assert weights(project.read("dvc.lock").decode())["models/mlp-0.safetensors"] in found.values()
    # What DVC's remote has of them is whole.
    project.git("clone", "--quiet", "--branch", "main", str(bare), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.environment |= project.environment
    for name in names:
        clone.dvc("exp", "pull", "origin", name)
        digest = found[name]
        content = clone.read(f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}")
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == digest


def is_work(process: psutil.Process) -> bool:
    """Is it of an experiment, and not of Ray itself?"""
    try:
        line = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return "shiftlab.distributed.node" in line or "dvc" in line or "src/train.py" in line or line.startswith("ray::run")
