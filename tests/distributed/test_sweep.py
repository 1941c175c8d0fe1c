"""What a sweep makes of choices, and where it refuses to begin."""

import sys
from collections.abc import Mapping

import pytest
from ruamel.yaml import YAML

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

from shiftlab.distributed import sweep
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError
from tests.helpers import ROOT
from tests.project import Project
from tests.servers import free_port

SHIFTLAB = (sys.executable, "-c", "from shiftlab.cli import main; main()")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("here")
def test_every_combination_is_an_experiment() -> None:
    planned = sweep.plan(["model=mlp,lenet seeds=[0],[1] data=digits"])
    chosen = [job.choices for job in planned.jobs.values()]
    assert chosen == [
        (f"model={model}", f"seeds=[{seed}]", "data=digits", "threads=1")
        for model in ("mlp", "lenet")
        for seed in (0, 1)
    ]
    assert list(planned.jobs) == [f"{planned.name}-{number}" for number in (1, 2, 3, 4)]
    assert planned.resources == Resources(1, 0)


@pytest.mark.usefixtures("here")
def test_threads_and_device_are_what_a_node_has_to_give() -> None:
    assert sweep.plan(["model=mlp threads=2", "model=mlp device=cuda threads=3"]).resources == Resources(3, 1)


@pytest.mark.usefixtures("here")
def test_name_tells_the_choices_apart_and_is_the_same_again() -> None:
    first, again, other = (sweep.plan([f"model=mlp models.mlp.lr={lr}"], name="lr") for lr in (0.1, 0.1, 0.2))
    assert first.name == again.name != other.name
    assert first.name.startswith("lr-")
    assert sweep.plan(["model=mlp models.mlp.lr=0.1"], ["train@mlp-0"], name="lr").name != first.name


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_study_is_an_experiment_for_each_variant() -> None:
    planned = sweep.plan(["data=digits"], study=True)
    variants = YAML(typ="safe").load(ROOT / "conf/study/claims.yaml")["variants"]
    assert [job.targets for job in planned.jobs.values()] == [(f"study@{name}",) for name in variants]
    assert {job.choices for job in planned.jobs.values()} == {("study=claims", "data=digits")}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ("model=transformer", "resnet, small, not transformer"),
        ("model=mlp models.mlp.lr=-1", "models.mlp.lr is -1"),
        ("model=glob(*)", "Glob override"),
        ("model='mlp", "can't be chosen"),
        ("nothing", "nothing can't be chosen (Error parsing override 'nothing'): `conf/` has what can"),
        ("modle=mlp", "Could not override 'modle'"),
    ],
)
def test_wrong_choice_is_named(choices: str, named: str) -> None:
    with pytest.raises(UserError) as raised:
        sweep.plan([choices])
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that shares nothing with anybody."""
    from tests.project import new_project

    return new_project(tmp_path_factory.mktemp("alone") / "project")


def test_what_nodes_elsewhere_can_not_reach_is_named(at_home: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(at_home.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="export MLFLOW_TRACKING_URI"):
        sweep.origin_of("elsewhere:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    with pytest.raises(UserError, match="dvc remote add --default"):
        sweep.origin_of("elsewhere:6379")
    before = at_home.read(".dvc/config")
    at_home.dvc("remote", "add", "--default", "storage", "s3://elsewhere/cache")
    try:
        with pytest.raises(UserError, match="git remote add origin"):
            sweep.origin_of("elsewhere:6379")
    finally:
        (at_home.root / ".dvc/config").write_bytes(before)
    assert sweep.origin_of("local").root == str(at_home.root)


def sweeping(project: Project, *options: str, environment: Mapping[str, str] | None = None) -> str:
    """What ends a sweep that can't begin."""
    mine = {"PYTHONPATH": str(project.root / "src"), **(environment or {})}
    done = project.run(*SHIFTLAB, "sweep", "-S", "data=digits", *options, check=False, environment=mine)
    assert done.returncode == 2
    *_, sentence = done.stdout.splitlines()
    assert sentence.startswith("error: ")
    assert "Traceback" not in done.stdout
    return sentence


def test_no_ray_is_told_at_once(at_home: Project) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert f"no Ray answers at {address}" in sweeping(at_home, "--ray", address)


@pytest.mark.slow
def test_more_than_any_node_has_is_told_at_once(at_home: Project) -> None:
    assert "no node has 1 cores and 1 GPU" in sweeping(at_home, "-S", "device=cuda", "--cores", "1")


def test_changes_that_no_commit_has_are_named(at_home: Project) -> None:
    path = at_home.root / "src/train.py"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        sentence = sweeping(at_home)
        assert "lacks your changes to src/train.py: commit them" in sentence
        assert "`make restore`" in sentence
    finally:
        path.write_bytes(before)
