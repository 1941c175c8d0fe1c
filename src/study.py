"""Stage `study`: one variant of the study, trained with every seed, and what it calls the shifted test images."""

import argparse

from shiftlab import determinism
from shiftlab.config import params
from shiftlab.errors import UserError, one_sentence
from shiftlab.pipeline import arguments


def main() -> None:
    """Read params.yaml and the data; write study/VARIANT.safetensors. What is done of it waits for a next attempt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", help="one of study.variants in params.yaml")
    name = parser.parse_args().variant
    wanted = params.load()
    study = wanted.study
    if name not in study.variants:
        raise UserError(
            f"variant {name!r} is not among those that params.yaml selects ({', '.join(study.variants) or 'none'}): "
            "choose them with `dvc exp run -S study=claims`"
        )
    variant = study.every[name]
    determinism.prepare(wanted.determinism)

    # Seconds to import, so after a look at what can be refused without it.
    from shiftlab import device, files
    from shiftlab.data import dataset
    from shiftlab.models import architectures, cost
    from shiftlab.study import answers, trial
    from shiftlab.training.checkpoints import StudyParts

    determinism.use(study.threads)
    chosen = device.pick(wanted.device)
    data_path = dataset.path(wanted.data.name)
    data = trial.laid(dataset.load(data_path), variant).crop_to_frame()
    untrained = architectures.build(variant.architecture, data.shape, len(data.classes), variant.components)
    parameters, multiply_adds = cost.count(untrained.eval(), data.test.images[0])
    about = {
        "variant": name,
        **variant.model_dump(),
        "data": wanted.data.name,
        "data_md5": files.md5(data_path),
        "shape": list(data.shape),
        "radius": trial.reach(data, study),
        "parameters": parameters,
        "multiply_adds": multiply_adds,
    }
    extent = study.model_dump(exclude={"seeds", "baseline", "variants", "claims"})
    parts = StudyParts(variant.architecture, {"device": chosen.type, **extent, **about})
    every: dict[tuple[int, params.BoundaryName], answers.Answers] = {}
    size = trial.count(data, variant, study)
    with arguments.progress(len(study.seeds) * size, name) as bar:
        for seed in study.seeds:
            saved = {boundary: parts.load(f"{seed} {boundary}") for boundary in trial.boundaries(variant)}
            if None in saved.values():
                of_seed = trial.run(variant, data, study, seed, chosen, bar.update)
                for boundary, one in of_seed.items():
                    parts.save(f"{seed} {boundary}", one.arrays())
            else:
                of_seed = {boundary: answers.Answers.of(arrays or {}) for boundary, arrays in saved.items()}
                bar.update(size)
            every |= {(seed, boundary): one for boundary, one in of_seed.items()}
    answers.save(answers.Trials({**about, "made_on": device.description(chosen)}, every), answers.path(name))
    parts.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
