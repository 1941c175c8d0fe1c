"""Stage `study`: one variant of the study, trained with every seed, and what it predicts of shifted test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shiftlab import determinism
from shiftlab.config.params import Params
from shiftlab.errors import UserError
from shiftlab.pipeline import arguments

if TYPE_CHECKING:
    from shiftlab.shifts.predictions import Predictions


def run(config: Params, name: str) -> None:
    """Train a variant of the study with every seed, and predict: write study/VARIANT/. A retry goes on from there."""
    study = config.study
    if name not in study.variants:
        raise UserError(
            f"variant {name!r} is not among those that params.yaml selects ({', '.join(study.variants) or 'none'}): "
            "choose them with `dvc exp run -S study=claims`"
        )
    variant = study.every[name]
    determinism.prepare(config.determinism)

    from shiftlab import files, unfinished
    from shiftlab.data import dataset
    from shiftlab.models import architectures
    from shiftlab.networks import cost
    from shiftlab.shifts.predictions import PredictionMetadata
    from shiftlab.shifts.store import Store
    from shiftlab.study import trial, trials

    determinism.use(study.threads)
    processor = determinism.pick_device(config.device)
    data_path = dataset.path(config.data.name)
    data = trial.on_canvas(dataset.load(data_path), variant).crop_to_frame()
    untrained = architectures.build(variant.architecture, data.shape, len(data.classes), variant.components)
    parameters, multiply_adds = cost.count(untrained.eval(), data.test.images[0])
    about = PredictionMetadata(
        config.data.name,
        files.md5(data_path),
        data.classes,
        weights_md5="",
        shape=data.shape,
        canvas=data.canvas,
        boundary="zero",
        parameters=parameters,
        multiply_adds=multiply_adds,
    )
    facts = {
        "variant": name,
        **variant.model_dump(),
        "data": config.data.name,
        "data_md5": about.data_md5,
        "shape": list(data.shape),
        "radius": trial.evaluation(data, study).radius,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
    }
    extent = study.model_dump(exclude={"seeds", "baseline", "variants", "claims"})
    settings = {"device": processor.type, **extent, **facts}
    key = unfinished.key(settings, variant.architecture, "shiftlab.study.trial")
    store = Store(unfinished.folder() / f"study-{key[:16]}")
    size = trial.count(data, variant, study)
    validation: dict[int, float] = {}
    of_seeds: dict[tuple[int, str], Predictions] = {}
    with arguments.progress(len(study.seeds) * size, name) as bar:
        for seed in study.seeds:
            if arrays := store.load(f"{seed}"):
                accuracy, predicted = trials.from_arrays(arrays, about)
                bar.update(size)
            else:
                accuracy, predicted = trial.run(variant, data, study, about, seed, processor, bar.update)
                store.save(f"{seed}", trials.to_arrays(accuracy, predicted))
            validation[seed] = accuracy
            of_seeds |= {(seed, boundary): of_boundary for boundary, of_boundary in predicted.items()}
    made_on = {**facts, "made_on": determinism.description(processor)}
    trials.save(trials.Trials(made_on, validation, of_seeds), trials.path(name))
    store.remove()
