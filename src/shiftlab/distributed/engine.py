"""Ray, which finds room for tasks on one machine or many: the one module that imports it.

Ray runs a task again where its process or its node is lost, as often as that happens; an exception of its own ends it.
Ray 2.60 itself loses a task whose request for room went to a node that froze: it waits for ever, although Ray takes the
node for dead within a minute and others are free (ray-project/ray, issue 63405, closed). So that is watched here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from shiftlab.environment import environment
from shiftlab.errors import UserError, extra

if "ray" not in sys.modules:  # which reads these on import
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # as .dvc/config does DVC's
    # Unlike pathlib's, this does without a home, which a number that no name belongs to has none of.
    token = os.path.expanduser("~/.ray/auth_token")  # noqa: PTH111
    if "RAY_AUTH_TOKEN" in os.environ or Path(token).exists():
        # A head that is started where there is a token asks for it, but who connects to one has to be told to show it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Where memory is short, Ray ends tasks and by itself would begin them again for ever.
    os.environ.setdefault("RAY_task_oom_retries", "5")

with extra("cluster"):
    import ray
    from ray._private.state import available_resources_per_node
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, TaskCancelledError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOCAL = "local"  # an address: Ray on this machine's cores, for as long as this process lives
CONNECT_TIMEOUT_S = 5
LONGEST_TMPDIR = 30  # bytes: in it Ray and its processes have sockets, whose paths have 103 at most
POLL_S = 2  # between looks for tasks that are to be cancelled and nodes that are gone
LOST_AFTER_S = 180  # of waiting though there is room; the start of a worker takes seconds
MAX_RECONNECTIONS = 3  # in a row, without the result of a task between them
QUEUED_PER_CORE = (
    4  # tasks handed to Ray for each that can run at once: it would hold ten thousand, but be asked of each
)


@dataclass(frozen=True)
class Resources:
    """What of a node a task has for itself."""

    cpus: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Cancelled:
    """Stands for the result of a task that was cancelled before it had one."""


@contextlib.contextmanager
def connected(address: str, cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for as long as the block lasts.

    Args:
        address: HOST:PORT of a cluster's head, "auto" for the one that this machine belongs to, or "local".
        cpus: how many of this machine's cores a local one has; None: all that this process may use.

    Raises:
        UserError: no Ray answers there, or one of another version of Ray or Python; Ray is not installed.
    """
    last = Path(tempfile.gettempdir(), "ray", "ray_current_cluster")  # where Ray notes what "auto" stands for
    _settings.clear()
    _settings.update(address=address, log_to_driver=False, logging_level="ERROR")
    if address == LOCAL:
        _settings.update(num_cpus=cpus or joblib.cpu_count(), include_dashboard=True)
    elif address != "auto":
        _refuse_silence(address)
    elif "RAY_ADDRESS" not in os.environ and last.exists():
        _refuse_silence(last.read_text(encoding="utf-8").strip())
    _connect()
    try:
        yield
    finally:
        ray.shutdown()


_settings: dict[str, Any] = {}  # of the connection: the arguments of `ray.init`


def _connect() -> None:
    long = len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR
    try:
        with environment({"TMPDIR": "/tmp"} if long else {}):
            ray.init(**_settings)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UserError(f"Ray at {_settings['address']} can't be used: {_reason(error)}") from None


def _refuse_silence(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself goes on asking for a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except ValueError:
        raise UserError(f"{address!r} is no address of Ray: give HOST:PORT of its head, auto, or local") from None
    except OSError as error:
        raise UserError(
            f"no Ray answers at {address} ({error.strerror or error}): start its head with `ray start --head "
            "--port=6379`, or give the address that it has"
        ) from None


def _reason(error: BaseException) -> str:
    """Return Ray's message on one line, without the advice that follows it."""
    words = " ".join(str(error).split())
    if "Version mismatch" in words:
        return f"{words}. Install the same versions on both: those of requirements.lock"
    return words.split(". ")[0] or type(error).__name__


def refuse_resources(resources: Resources) -> None:
    """Raise a UserError for a task that no node is large enough for, which would wait for ever."""
    sizes = [(node["Resources"].get("GPU", 0), node["Resources"].get("CPU", 0)) for node in _nodes()]
    if any(gpus >= resources.gpus and cpus >= resources.cpus for gpus, cpus in sizes):
        return
    gpus, cpus = max(sizes, default=(0, 0))
    needed = f"{resources.cpus} cores" + (f" and {resources.gpus} GPU" if resources.gpus else "")
    raise UserError(
        f"no node has {needed}, which a task asks for; the largest has {cpus:g} cores and {gpus:g} GPUs: choose fewer "
        "`threads` or `device=cpu`, or add a node"
    )


def address() -> str:
    """Return the address of the cluster that is connected, for other processes."""
    return str(ray.get_runtime_context().gcs_address)


def cores() -> int:
    """Return how many cores the nodes that are alive have together."""
    return int(ray.cluster_resources().get("CPU", 0))


def on_every_node(function: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """Call a function once on each node, beside the tasks that run there; return the results by the node's address.

    A node that is lost meanwhile is left out: Ray takes one for alive until it has been silent for some seconds.

    Raises:
        UserError: a call raised it, or a node can't call the function; the sentence names the node. No node is left.
    """
    remote = ray.remote(num_cpus=0, max_retries=3)(function)
    calls = {}
    for node in _nodes():
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
        calls[node["NodeID"]] = (name, remote.options(scheduling_strategy=affinity).remote(*arguments))
    results = {}
    for node_id, (name, call) in calls.items():
        while not ray.wait([call], timeout=POLL_S)[0] and any(node["NodeID"] == node_id for node in _nodes()):
            pass
        try:
            results[name] = ray.get(call, timeout=0)
        except RayTaskError as error:
            raise UserError(f"the node {name} can't be used: {_cause(error)}") from None
        except RayError:
            continue  # the node is lost
    if not results:
        raise UserError("no node of Ray's is alive: start one with `ray start --address HOST:PORT`")
    return results


def results(
    function: Callable[..., Any],
    tasks: Iterable[tuple[str, tuple[object, ...]]],
    resources: Resources,
    at_once: int | None = None,
    to_cancel: Callable[[], Iterable[str]] | None = None,
    shared: tuple[object, ...] = (),
) -> Iterator[tuple[str, Any]]:
    """Call a function with the arguments of each task, as many at a time as there is room for.

    Args:
        tasks: name, which Ray's dashboard shows, and arguments of each; they are taken as room comes up.
        at_once: how many tasks are handed to Ray at a time; None: some more than there is room for.
        to_cancel: returns the names of tasks that are to be cancelled; it is called every few seconds.
        shared: the function's first arguments, which are handed to each node once.

    Yields:
        Name and result of each task as it ends; in place of a result the UserError that one raised, or `Cancelled`.

    Raises:
        UserError: tasks wait for ever though there is room.
        RayError: a task raised something else, which is a bug.
    """
    remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=-1)(function)
    queue = iter(tasks)
    running: dict[Any, tuple[str, tuple[object, ...]]] = {}  # or waiting for room in Ray
    references = [ray.put(value) for value in shared]
    last_progress, reconnections = time.monotonic(), 0
    while True:
        while len(running) < (at_once or max(1, QUEUED_PER_CORE * cores())) and (task := next(queue, None)):
            name, arguments = task
            running[remote.options(name=name).remote(*references, *arguments)] = task
        if not running:
            return
        ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
        for call in ready:
            reconnections = 0
            name, _ = running.pop(call)
            yield name, _result(call, name)
        if to_cancel and not ready:
            names = set(to_cancel())
            for call in [call for call, (name, _) in running.items() if name in names]:
                ray.cancel(call)
        if ready or not _is_overlooked(len(running), resources):
            last_progress = time.monotonic()
        elif time.monotonic() - last_progress > LOST_AFTER_S:
            reconnections += 1
            if reconnections > MAX_RECONNECTIONS:
                raise UserError(
                    f"{len(running)} tasks wait though there is room, and Ray does not start them: its logs, in "
                    "/tmp/ray/session_latest/logs on the nodes, say why"
                )
            # With the connection go all of its tasks; a new one starts without them.
            ray.shutdown()
            _connect()
            references = [ray.put(value) for value in shared]
            queue, running, last_progress = itertools.chain(list(running.values()), queue), {}, time.monotonic()


def _is_overlooked(tasks: int, resources: Resources) -> bool:
    """Return whether there is room for a task, and so few run, of anybody, that one of these waits."""
    total, free = ray.cluster_resources().get("CPU", 0), ray.available_resources().get("CPU", 0)
    if tasks <= (total - free) / resources.cpus:
        return False
    nodes = available_resources_per_node().values()
    return any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus for node in nodes)


def _result(call: Any, name: str) -> Any:
    try:
        return ray.get(call)
    except TaskCancelledError:
        return Cancelled()
    except OutOfMemoryError:
        return UserError(
            f"{name} was ended each time it began, since its node had no memory left: give nodes fewer tasks "
            "at a time (`--cores`, or `ray start --num-cpus`), or more memory"
        )
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            return error.cause
        raise


def status() -> str:
    """Return what runs where and how much waits, as the dashboard of the cluster says, a second or two late.

    Raises:
        UserError: the cluster runs without its dashboard.
    """
    from ray.util.state import list_nodes, list_tasks
    from ray.util.state.exception import RayStateApiException

    this = address()  # or it would ask the cluster that was started here last
    try:
        nodes = {node.node_id: f"{node.node_ip} ({node.node_id[:6]})" for node in list_nodes(this, limit=10_000)}
        tasks = list_tasks(this, filters=[("state", "!=", "FINISHED")], limit=10_000, detail=True)
    except RayStateApiException as error:
        raise UserError(f"Ray can't say what runs, since its dashboard does not answer ({_reason(error)})") from None
    running = [task for task in tasks if str(task.state).startswith("RUNNING")]
    waiting = sum(task.state != "FAILED" for task in tasks) - len(running)
    now = 1000 * time.time()
    minutes = [(now - (task.start_time_ms or now)) / 60_000 for task in running]
    rows = [
        f"{task.name:32} {nodes.get(task.node_id or '', ''):28} {duration:6.1f} min"
        for task, duration in zip(running, minutes, strict=True)
    ]
    return "\n".join([*sorted(rows), f"{len(running)} running on {cores()} cores, {waiting} waiting"])


def _nodes() -> list[dict[str, Any]]:
    """Return what Ray knows of the nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def _cause(error: RayTaskError) -> str:
    """Return what a task raised, on one line."""
    cause = error.cause
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, ImportError) or "ModuleNotFoundError" in str(error):
        return "its Python lacks this package: install the same version there, with requirements.lock"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
