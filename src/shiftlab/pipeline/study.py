"""Stage `study`: one variant of the study, trained with every seed, and what it predicts of shifted test images."""

from __future__ import annotations

from shiftlab import determinism, files, unfinished
from shiftlab.config.params import Params
from shiftlab.data import dataset
from shiftlab.errors import UserError
from shiftlab.models import architectures
from shiftlab.pipeline import arguments
from shiftlab.shifts import protocol
from shiftlab.shifts.predictions import Predictions
from shiftlab.shifts.store import Store
from shiftlab.study import trial, trials


def run(config: Params, name: str) -> None:
    """Train a variant of the study with every seed, and predict: write study/VARIANT/. A retry goes on from there."""
    study = config.study
    if name not in study.variants:
        raise UserError(
            f"variant {name!r} is not among those that params.yaml selects ({', '.join(study.variants) or 'none'}): "
            "choose them with `dvc exp run -S study=claims`"
        )
    variant = study.full_variants[name]
    determinism.set_threads(study.threads)
    device = determinism.pick_device(config.device)
    data_path = dataset.path(config.data.name)
    data = trial.on_canvas(dataset.load(data_path), variant).crop_to_frame()
    untrained = architectures.build(variant.architecture, data.shape, len(data.classes), variant.components)
    metadata = protocol.metadata(config.data.name, files.md5(data_path), data, untrained.eval())
    facts = {
        "variant": name,
        **variant.model_dump(),
        "data": metadata.data,
        "data_md5": metadata.data_md5,
        "shape": list(data.shape),
        "radius": trial.evaluation(data, study).radius,
        "parameters": metadata.parameters,
        "multiply_adds": metadata.multiply_adds,
    }
    extent = study.model_dump(exclude={"seeds", "baseline", "variants", "claims"})
    key = unfinished.key({"device": device.type, **extent, **facts}, variant.architecture, "shiftlab.study.trial")
    store = Store(unfinished.path("study", key))
    validation: dict[int, float] = {}
    of_seeds: dict[tuple[int, str], Predictions] = {}
    size = trial.count(data, variant, study)
    with arguments.progress(len(study.seeds) * size, name) as bar:
        for seed in study.seeds:
            if arrays := store.load(f"{seed}"):
                validation[seed], predicted = trials.from_arrays(arrays, metadata)
                bar.update(size)
            else:
                validation[seed], predicted = trial.run(variant, data, study, metadata, seed, device, bar.update)
                store.save(f"{seed}", trials.to_arrays(validation[seed], predicted))
            of_seeds |= {(seed, boundary): of_boundary for boundary, of_boundary in predicted.items()}
    made_on = {**facts, "made_on": determinism.description(device)}
    trials.save(trials.Trials(made_on, validation, of_seeds), trials.path(name))
    store.remove()
