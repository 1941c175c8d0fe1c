"""Models for the page to draw on: the registry's champions, or those that a user names."""

import os
from collections.abc import Sequence
from functools import partial

import torch

from shiftlab.audits import adapters
from shiftlab.audits.model import PreprocessedModel
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import PreprocessingHints
from shiftlab.data import drawing
from shiftlab.data.dataset import numbered
from shiftlab.environment import NO_PROXY_AT_ALL, environment
from shiftlab.errors import UserError, extra
from shiftlab.shifts.inference import probabilities

HOST = "127.0.0.1"

Classes = tuple[str, ...]
Shape = tuple[int, int, int]


def serve(
    names: Sequence[str], hints: PreprocessingHints, classes: Sequence[str] | None, port: int, open_browser: bool
) -> None:
    """Serve the page to draw on.

    Args:
        names: of models, as `shiftlab audit` takes them; none are the champions of MLflow's registry.
        hints: what the user says of how pixels become inputs.
        classes: names of the outputs.
    """
    if not names:
        with extra("mlflow"):
            from shiftlab.tracking import registry, store
        os.environ["MLFLOW_TRACKING_URI"] = store.address()
        names = registry.champions()
    models, classes, shape = load_models(names, hints, classes)
    # Seconds to import, so after a look at the models. Gradio asks its own address alone, but makes ready for every
    # proxy that the environment names, for which it may lack a package.
    with extra("play"), environment(NO_PROXY_AT_ALL):
        from shiftlab.reports import play
    prepare = drawing.prepare_grey if shape[0] == 1 else drawing.prepare_colour
    demo = play.Demo(models, classes, shape, partial(prepare, frame=shape[1:]), drawing.read)
    play.serve(demo, HOST, port, open_browser)


def load_models(
    names: Sequence[str], hints: PreprocessingHints, classes: Sequence[str] | None = None
) -> tuple[dict[str, PreprocessedModel], Classes, Shape]:
    """Return models that see images of one shape and know the same classes, those classes, and that shape."""
    models: dict[str, PreprocessedModel] = {}
    properties: dict[str, tuple[Classes, Shape]] = {}
    for name in names:
        model = adapters.load(name, adapters.ModelOptions(frame=hints.frame))
        prepared = PreprocessedModel(model, Preprocessing.of(hints.merge(model.hints), None)).eval()
        shape = prepared.preprocessing.shape
        outputs = probabilities(prepared, torch.zeros(1, *shape)).shape[1]
        own_classes = tuple(classes or model.classes or numbered(outputs))
        if len(own_classes) != outputs:
            raise UserError(f"{name} has {outputs} outputs, and {len(own_classes)} names of classes were given")
        short = name.rpartition("/")[2].removeprefix("shiftlab-").removesuffix("@champion")
        label = name if short in models else short
        models[label], properties[label] = prepared, (own_classes, shape)
    first, *others = properties
    for label in others:
        if properties[label] != properties[first]:
            raise UserError(
                f"{first} and {label} do not see alike ({_describe(*properties[first])}; "
                f"{_describe(*properties[label])}): play with models that do"
            )
    return models, *properties[first]


def _describe(classes: Classes, shape: Shape) -> str:
    return f"{len(classes)} classes, {', '.join(classes[:3])}..., of {'x'.join(map(str, shape))}"
