"""The registry: each architecture's trained models as versions, the best of them the champion."""

import contextlib
from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from shiftlab.errors import UserError
from shiftlab.tracking.runs import Run
from shiftlab.tracking.store import NOTE, best_effort, required


@best_effort
def register(run: Run, model: str, artifact: str, rank: float, tags: Mapping[str, str]) -> None:
    """Make an artifact folder of a run a version in the registry, once; the best ranked becomes the champion.

    The alias `champion` goes to the version of the highest rank, the earliest of equals, among those with the tag
    `data` that this one has. `champion-DATA` is the same under a name that other data sets leave alone.

    Args:
        tags: of the version; with `data`, and with `weights.md5`, by which a version is known.
    """
    name = f"shiftlab-{model}"
    with contextlib.suppress(MlflowException):  # there is one already
        run.client.create_registered_model(name)
    known = f"name = '{name}' and tags.`weights.md5` = '{tags['weights.md5']}'"
    if not run.client.search_model_versions(known):
        source = f"{run.client.get_run(run.id).info.artifact_uri}/{artifact}"
        run.client.create_model_version(name, source, run.id, tags={**tags, "rank": repr(rank)}, description="")
    alike = run.client.search_model_versions(f"name = '{name}' and tags.data = '{tags['data']}'")
    best = max(alike, key=lambda one: (float(one.tags["rank"]), -int(one.version)))
    for alias in ("champion", f"champion-{tags['data']}"):
        run.client.set_registered_model_alias(name, alias, best.version)


@best_effort
def describe(run: Run, model: str, weights_md5: str, text: str) -> None:
    """Write what a model is and does, in Markdown, to its run and to its versions in the registry."""
    run.log_tags({NOTE: text})
    known = f"name = 'shiftlab-{model}' and tags.`weights.md5` = '{weights_md5}'"
    for one in run.client.search_model_versions(known):
        run.client.update_model_version(one.name, one.version, text)


def champion(model: str) -> str:
    """The address, in the registry, of the best model of an architecture.

    Raises:
        UserError: there is none, or the store can't be reached or used.
    """
    name = f"shiftlab-{model}"
    with required() as client:
        found = client.search_registered_models(f"name = '{name}'")
    if any("champion" in one.aliases for one in found):
        return f"models:/{name}@champion"
    raise UserError(
        f"no version of {name} has the alias champion in MLflow's registry: train one, as with `dvc exp run -S "
        f"model={model}`, or log what DVC has with `make sync`"
    )


def champions() -> list[str]:
    """The addresses of all of them, by the architectures' names.

    Raises:
        UserError: there is none, or the store can't be reached or used.
    """
    with required() as client:
        found = [
            one.name for one in client.search_registered_models("name LIKE 'shiftlab-%'") if "champion" in one.aliases
        ]
    if not found:
        raise UserError(
            "MLflow's registry has no trained model yet: `make demo` trains some in two minutes, `make sync` logs what "
            "DVC has; or name a model"
        )
    return [f"models:/{name}@champion" for name in sorted(found)]
