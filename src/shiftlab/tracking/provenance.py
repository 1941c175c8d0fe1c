"""A run's provenance: tags that lead back to the code, the experiment and the process that made it."""

import contextlib
import getpass
import os
import platform
import re
import subprocess
from collections.abc import Mapping

import psutil

from shiftlab import repository
from shiftlab.tracking.history import WORKSPACE

# What makes a result; the outputs that git keeps change while the pipeline runs.
INPUTS = ["src", "conf", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock"]


def dvc_experiment() -> str:
    """Return the name of the DVC experiment this process belongs to."""
    return os.environ.get("DVC_EXP_NAME", WORKSPACE)


def sweep(tags: Mapping[str, str]) -> str:
    """Return the name that experiments which were started together share.

    DVC numbers those of a queue that has a name, NAME-1, NAME-2; those without one share the commit.
    """
    numbered = re.fullmatch(r"(.*)-\d+", tags["dvc.experiment"])
    return numbered[1] if numbered else f"from {tags.get('mlflow.source.git.commit', 'no commit')[:7]}"


def process() -> dict[str, str]:
    """Return the tags that tell whether the process that a run belongs to still lives."""
    current = psutil.Process()
    return {"process.host": platform.node(), "process": f"{current.pid} {current.create_time()}"}


def process_is_gone(tags: Mapping[str, str]) -> bool:
    """Return whether a run's process, on this machine, has ended; False for one on another machine."""
    if tags.get("process.host") != platform.node():
        return False
    number, begun = tags["process"].split()
    try:
        return bool(psutil.Process(int(number)).create_time() != float(begun))
    except psutil.NoSuchProcess:
        return True


def provenance() -> dict[str, str]:
    """Return the tags that lead from a run back to the code that made it."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "dvc.yaml",
        "dvc.stage": os.environ.get("DVC_STAGE", "none"),
        "dvc.experiment": dvc_experiment(),
    }
    if parent := os.environ.get("SHIFTLAB_PARENT_RUN"):  # a search's
        tags["mlflow.parentRunId"] = parent
    with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):  # no git, or no repository
        tags["mlflow.source.git.commit"] = os.environ.get("DVC_EXP_BASELINE_REV") or repository.commit()
        tags["git.dirty"] = str(bool(repository.git("status", "--porcelain", "--", *INPUTS))).lower()
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that no name belongs to; Python 3.13 has the latter
        return str(os.getuid())
