"""Stage `train`: fit one model with one seed, and keep the weights of its best validation epoch."""

import time
from dataclasses import asdict, astuple, fields
from itertools import chain
from pathlib import Path

from shiftlab import params, stage
from shiftlab.errors import one_sentence


def main() -> None:
    """Read params.yaml and the data; write the weights, and the history after every epoch; log a run."""
    arguments = stage.model_and_seed(__doc__)
    name, seed = arguments.model, arguments.seed
    wanted = params.load()
    settings = params.training(wanted, name)

    import torch  # seconds to import, so after a look at what can be refused without it

    from shiftlab import cost, data, device, files, models, recording, tracking, training, weights
    from shiftlab.checkpoints import Checkpoint

    chosen = device.pick(wanted.device)
    tracker = tracking.Tracker(wanted.data.name, wanted.tracking)
    data_path = data.path(wanted.data.name)
    dataset = data.load(data_path)
    identity = tracking.Identity(wanted.data.name, files.md5(data_path), name, seed)
    choices = {"recipe": wanted.recipe, "device": chosen.type, **settings.model_dump()}

    checkpoint = Checkpoint(name, seed, {**choices, "data": identity.data_md5})
    tracker.end_interrupted(checkpoint.key)
    state = checkpoint.load()

    torch.manual_seed(seed)
    model = models.build(name, dataset.train.size)
    images = len(dataset.train)
    finished = len(state.history) if state else 0
    with (
        tracker.training(identity, choices, {"training.key": checkpoint.key}) as run,
        stage.progress(settings.epochs * images, f"{name} seed {seed}", finished * images) as bar,
    ):

        def show(seen: int, loss: float) -> None:
            bar.set_postfix(epoch=bar.n // images + 1, loss=f"{loss:.4f}", refresh=False)
            bar.update(seen)

        begun = time.perf_counter()
        logged = 0
        epochs = training.fit(model, dataset, wanted.recipe, settings, chosen, state, show)
        for reached in chain([state] if state else [], epochs):
            checkpoint.save(reached)
            header = [field.name for field in fields(training.Epoch)]
            files.write(
                Path("plots", f"{name}-{seed}", "history.csv"),
                files.table(header, map(astuple, reached.history)),
            )
            recording.log_epochs(run, map(asdict, reached.history[logged:]))
            logged = len(reached.history)
        weights_path = weights.path(name, seed)
        weights.save(reached.best, name, weights_path)
        run.log_metrics({"train/seconds": time.perf_counter() - begun})
        model.eval()
        for count in (1, training.INFERENCE_BATCH):
            batch = dataset.validation.images[:count].to(chosen)
            run.log_metrics({f"cost/milliseconds for {count} images": cost.latency(model, batch)})
        recording.log_weights(tracker, run, identity, weights_path, dataset.train.size, map(asdict, reached.history))
    checkpoint.remove()


if __name__ == "__main__":
    with one_sentence():
        main()
