"""The registry: each architecture's trained models as versions, the best of them the champion."""

import contextlib
from collections.abc import Mapping

from mlflow import MlflowClient, artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from shiftlab.errors import UserError
from shiftlab.tracking.runs import Run
from shiftlab.tracking.store import DESCRIPTION, required

PREFIX = "shiftlab-"  # of an architecture's name in the registry


def register(run: Run, model: str, artifact: str, rank: float, tags: Mapping[str, str]) -> None:
    """Make an artifact folder of a run a version in the registry, once; the best ranked becomes the champion.

    The alias `champion` goes to the version of the highest rank, the earliest of equals, among those whose files are
    there and whose tag `data` is this one's. `champion-DATA` is the same under a name that other data sets leave alone.

    Args:
        tags: of the version; with `data`, and with `weights.md5`, by which a version is known.
    """
    name = PREFIX + model
    with run.store.best_effort():
        with contextlib.suppress(MlflowException):  # there is one already
            run.client.create_registered_model(name)
        same = run.client.search_model_versions(_same_weights(model, tags["weights.md5"]))
        if not any(_has_files(run.client, version) for version in same):
            source = f"{run.client.get_run(run.id).info.artifact_uri}/{artifact}"
            run.client.create_model_version(name, source, run.id, tags={**tags, "rank": repr(rank)}, description="")
        versions = run.client.search_model_versions(f"name = '{name}' and tags.data = '{tags['data']}'")
        ranked = sorted(versions, key=lambda version: (-float(version.tags["rank"]), int(version.version)))
        best = next(version for version in ranked if _has_files(run.client, version))
        for alias in ("champion", f"champion-{tags['data']}"):
            run.client.set_registered_model_alias(name, alias, best.version)


def _has_files(client: MlflowClient, version: ModelVersion) -> bool:
    """Return whether a version's files are there; somebody may have deleted them, or the folder that they were in."""
    return bool(artifacts.list_artifacts(artifact_uri=version.source, tracking_uri=client.tracking_uri))


def describe(run: Run, model: str, weights_md5: str, text: str) -> None:
    """Write what a model is and does, in Markdown, to its run and to its versions in the registry."""
    run.log_tags({DESCRIPTION: text})
    with run.store.best_effort():
        for version in run.client.search_model_versions(_same_weights(model, weights_md5)):
            run.client.update_model_version(version.name, version.version, text)


def _same_weights(model: str, weights_md5: str) -> str:
    return f"name = '{PREFIX}{model}' and tags.`weights.md5` = '{weights_md5}'"


def champion(model: str) -> str:
    """Return the address, in the registry, of the best model of an architecture.

    Raises:
        UserError: there is none, or the store can't be reached or used.
    """
    if address := _champions().get(model):
        return address
    raise UserError(
        f"no version of {PREFIX}{model} has the alias champion in MLflow's registry: train one, as with `dvc exp run "
        f"-S model={model}`, or log what DVC has with `make sync`"
    )


def champions() -> list[str]:
    """Return the addresses of all champions, by the architectures' names.

    Raises:
        UserError: there is none, or the store can't be reached or used.
    """
    if addresses := _champions():
        return [addresses[model] for model in sorted(addresses)]
    raise UserError(
        "MLflow's registry has no trained model yet: `make demo` trains some in two minutes, `make sync` logs what "
        "DVC has; or name a model"
    )


def _champions() -> dict[str, str]:
    with required() as client:
        models = client.search_registered_models(f"name LIKE '{PREFIX}%'")
    names = [model.name for model in models if "champion" in model.aliases]
    return {name.removeprefix(PREFIX): f"models:/{name}@champion" for name in names}
