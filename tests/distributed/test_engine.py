"""Tasks on Ray's nodes: those of this machine."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray, which `make cluster` installs")

import ray

from shiftlab.distributed import engine
from shiftlab.distributed.engine import Resources
from shiftlab.errors import UserError
from tests.helpers import ROOT
from tests.servers import PATIENCE_S, Node, free_port


def double(number: int) -> int:
    if number < 0:
        raise UserError(f"{number} is below 0")
    return 2 * number


def add(shared: int, number: int) -> int:
    return shared + number


def die_once(folder: str) -> int:
    """The first attempt ends with its process."""
    marker = Path(folder, "tried")
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return os.getpid()


def rest(seconds: float) -> None:
    time.sleep(seconds)


def fail() -> None:
    raise RuntimeError("a bug")


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    with engine.connected("local", 2):
        yield


@pytest.mark.usefixtures("here")
def test_every_task_has_its_answer_under_its_name() -> None:
    tasks = [(f"task {number}", (number,)) for number in range(30)]
    assert dict(engine.results(double, tasks, Resources())) == {f"task {number}": 2 * number for number in range(30)}


@pytest.mark.usefixtures("here")
def test_mistake_of_a_user_stands_for_the_answer_and_stops_nothing() -> None:
    found = dict(engine.results(double, [("wrong", (-1,)), ("right", (1,))], Resources()))
    assert found["right"] == 2
    assert str(found["wrong"]) == "-1 is below 0"


@pytest.mark.usefixtures("here")
def test_bug_of_a_task_is_raised() -> None:
    with pytest.raises(ray.exceptions.RayTaskError, match="a bug"):
        list(engine.results(fail, [("one", ())], Resources()))


@pytest.mark.usefixtures("here")
def test_task_whose_process_is_lost_runs_again(tmp_path: Path) -> None:
    ((_, answer),) = engine.results(die_once, [("one", (str(tmp_path),))], Resources())
    assert answer not in (0, os.getpid())


@pytest.mark.usefixtures("here")
def test_shared_value_is_the_first_argument_of_every_task() -> None:
    assert dict(engine.results(add, [("one", (1,)), ("two", (2,))], Resources(), shared=(4,))) == {"one": 5, "two": 6}


@pytest.mark.usefixtures("here")
def test_every_node_is_asked_and_named_where_it_refuses() -> None:
    assert list(engine.on_every_node(double, 3).values()) == [6]
    with pytest.raises(UserError, match=r"the node [\d.]+ \(\w{6}\) can't be used: -3 is below 0"):
        engine.on_every_node(double, -3)


@pytest.mark.usefixtures("here")
def test_room_that_no_node_has_is_refused() -> None:
    engine.refuse_resources(Resources(2))
    with pytest.raises(UserError, match=r"no node has 3 cores, .* the largest has 2 cores and 0 GPUs"):
        engine.refuse_resources(Resources(3))
    with pytest.raises(UserError, match="no node has 1 cores and 1 GPU"):
        engine.refuse_resources(Resources(1, 1))


@pytest.mark.usefixtures("here")
def test_books_tell_what_runs() -> None:
    remote = ray.remote(rest).options(name="a long one", num_cpus=1)
    waiting = [remote.remote(600) for _ in range(3)]
    deadline = time.monotonic() + 600
    try:
        while not (status := engine.status()).endswith("2 running on 2 cores, 1 waiting"):
            assert time.monotonic() < deadline, status
            time.sleep(0.2)
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
    assert re.match(r"a long one +[\d.]+ \(\w{6}\) +0\.\d min\n", status)


def test_address_without_ray_is_told_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"no Ray answers at {address}"), engine.connected(address):
        pass
    with pytest.raises(UserError, match="'somewhere' is no address of Ray"), engine.connected("somewhere"):
        pass


FILLED = """
from shiftlab.distributed import engine
from tests.distributed.test_engine import rest

with engine.connected("local", 1):
    print(dict(engine.results(rest, [("one", (600,))], engine.Resources())))
"""


@pytest.mark.slow
def test_task_for_which_no_node_has_memory_ends_with_a_sentence() -> None:
    full = {**os.environ, "RAY_memory_usage_threshold": "0.001", "RAY_task_oom_retries": "1", "PYTHONPATH": "src:."}
    done = subprocess.run([sys.executable, "-c", FILLED], cwd=ROOT, env=full, capture_output=True, text=True)
    assert "one was ended each time it began, since its node had no memory left" in done.stdout


FREEZING = """
import sys
import time
import psutil
from shiftlab.distributed import engine
from tests.distributed.test_engine import add

engine.LOST_AFTER_S = 25  # two or three times of it until Ray takes the node for dead
with engine.connected(sys.argv[1]):
    tasks = [("one", (1,))]
    assert dict(engine.results(add, tasks, engine.Resources(), shared=(4,))) == {"one": 5}
    while engine.ray.available_resources().get("CPU") != 1:
        time.sleep(0.2)
    psutil.Process(int(sys.argv[2])).suspend()  # it takes requests for room, and does not answer
    print("frozen", flush=True)
    tasks += [("two", (2,))]
    assert dict(engine.results(add, tasks, engine.Resources(), shared=(4,))) == {"one": 5, "two": 6}
"""


@pytest.mark.slow
def test_tasks_that_wait_for_a_node_that_freezes_run_on_another(tmp_path: Path) -> None:
    head = f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    first, second, third = (
        Node(head, tmp_path / str(number), environment, number == 0, cores=int(number > 0)) for number in range(3)
    )
    with ExitStack() as cluster:
        for node in (first, second):
            node.folder.mkdir()
            node.start()
            cluster.callback(node.kill)
            first.wait()
        while not (raylets := [process.pid for process in second.below() if process.name() == "raylet"]):
            time.sleep(0.2)
        command = [sys.executable, "-c", FREEZING, head, str(raylets[0])]
        driver = cluster.enter_context(
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        )
        cluster.callback(driver.kill)
        assert driver.stdout
        assert "frozen\n" in driver.stdout
        third.folder.mkdir()
        third.start()
        cluster.callback(third.kill)
        assert driver.wait(PATIENCE_S) == 0
