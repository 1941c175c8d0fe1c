import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import vl_convert

from shiftlab.metrics import evaluation
from shiftlab.metrics.comparison import MetricsByKey, PredictionsByKey
from shiftlab.reports import explorer
from shiftlab.shifts.predictions import Predictions
from tests.helpers import ABOUT, examples, some_predictions
from tests.metrics.test_comparison import answers, found
from tests.study import trials

IMAGES = examples(4).images


def shown(of: PredictionsByKey, metrics: MetricsByKey) -> Any:
    return explorer.select_images(of, metrics, IMAGES)


def test_packed_answers_are_the_stored_ones() -> None:
    of, metrics = answers(), found()
    places = shown(of, metrics)
    assert places.tolist() == [0, 1, 2]  # there is room for all of the grid
    raw = np.frombuffer(zlib.decompress(explorer.pack(of, places)), np.uint8)
    images, shifts = 3, 9
    called, percent = raw.reshape(2, len(of), images, shifts)  # boundaries and models in turn
    for at, one in enumerate(of.values()):
        assert np.array_equal(called[at], one.grid.predicted.T)
        assert np.array_equal(percent[at], np.rint(100 * one.grid.confidence.T.astype(float)))


def test_many_classes_take_two_bytes() -> None:
    names = tuple(map(str, range(300)))
    one = some_predictions(replace(ABOUT, classes=names))
    one = replace(one, grid=replace(one.grid, predicted=one.grid.predicted.astype(np.uint16) + 256))
    raw = zlib.decompress(explorer.pack({("mlp", 0, "zero"): one}, np.array([1])))
    assert np.array_equal(np.frombuffer(raw[:18], "<u2"), one.grid.predicted[:, 1])
    assert len(raw) == 9 * 3


def test_answers_of_the_first_seed_alone_are_packed() -> None:
    one, other = some_predictions(ABOUT), some_predictions(ABOUT)
    other = replace(other, grid=replace(other.grid, predicted=other.grid.predicted + 1))
    both: PredictionsByKey = {("mlp", 0, "zero"): one, ("mlp", 1, "zero"): other}
    assert explorer.pack(both, np.array([0])) == explorer.pack({("mlp", 0, "zero"): one}, np.array([0]))


def test_page_with_little_room_holds_the_most_fragile_images_and_some_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    some = some_predictions(ABOUT)
    right = np.array([[True, True, True], *[[True, column == 1, False] for column in range(8)]])
    predicted = np.where(right, some.labels[some.grid.images], some.labels[some.grid.images] + 1).astype(np.uint8)
    assert (some.grid.shifts[some.grid.centre] == 0).all()
    predicted[[0, some.grid.centre]] = predicted[[some.grid.centre, 0]]
    changed: Predictions = replace(some, grid=replace(some.grid, predicted=predicted))
    of: PredictionsByKey = {("mlp", 0, "zero"): changed}
    metrics: MetricsByKey = {key: evaluation.evaluate(one, 1, 1) for key, one in of.items()}
    most_fragile = metrics["mlp", 0, "zero"].nearest_failing_shifts[0].image
    monkeypatch.setattr(explorer, "MAX_PREDICTIONS", 2 * 9)
    places = shown(of, metrics)
    assert len(places) == 2
    assert most_fragile in some.grid.images[places]
    monkeypatch.setattr(explorer, "MAX_PREDICTIONS", 0)
    assert len(shown(of, metrics)) == 1
    monkeypatch.setattr(explorer, "MAX_PREDICTIONS", 2 * 9)
    monkeypatch.setattr(explorer, "MAX_BYTES", IMAGES[0].numel())
    assert len(shown(of, metrics)) == 1


def test_content_is_in_jsons_types() -> None:
    study = trials.summarised()
    parts = explorer.parts(answers(), found(), IMAGES, study)
    content = json.loads(json.dumps(parts["content"], allow_nan=False))
    assert content["claims"][0]["says"] == study["claims"][0]["says"]
    effects = {one["contrast"]: one for one in content["claims"][0]["contrasts"]}
    secondary = effects["max less dense (consistency, circular)"]
    assert (secondary["p"], secondary["verdict"]) == ("secondary", "secondary")
    (depends,) = (one for one in content["claims"] if one["verdict"] == "depends")
    assert depends["which_way"] == ": supported for a blur, contradicted for no convolution"
    assert [one["image"] for one in content["images"]] == some_predictions(ABOUT).grid.images.tolist()
    assert all(one["picture"].startswith("data:image/png;base64,") for one in content["images"])
    assert (parts["models"], parts["boundaries"]) == (["mlp", "lenet"], ["zero", "circular"])
    assert content["boundaries"] == {"zero": "plain", "circular": "tiled"}
    metrics = content["metrics"]["zero"]["mlp"]
    expected = found()["mlp", 0, "zero"]
    assert metrics["maps"]["accuracy"]["value"] == np.round(expected.maps["accuracy"].value, 4).ravel().tolist()
    assert metrics["confusions"]["clean"] == expected.confusion_matrices["clean"].tolist()
    assert metrics["curves"]["x"]["step"] == [-1, 0, 1]
    assert metrics["radii"]["right at every shift within"]["value"][0] == round(
        expected.radii[0].robust_accuracy.value, 4
    )


@pytest.mark.parametrize("name", list(explorer.charts()))
def test_charts_are_valid_vega_lite(name: str) -> None:
    chart = {**explorer.charts()[name], "width": 300, "height": 300}
    compiled = vl_convert.vegalite_to_vega(chart)
    assert compiled["marks"]
    signals = {signal["name"] for signal in compiled.get("signals", [])}
    assert {parameter["name"] for parameter in chart.get("params", [])} <= signals


def test_images_that_are_larger_than_the_frame_are_shown_with_what_a_shift_brings_in() -> None:
    one = some_predictions(replace(ABOUT, boundary="crop", shape=(1, 26, 24)))
    of: PredictionsByKey = {("mlp", 0, "crop"): one}
    metrics: MetricsByKey = {key: evaluation.evaluate(each, 1, 1) for key, each in of.items()}
    content = explorer.content(of, metrics, torch.as_tensor(IMAGES), np.array([0]), {"claims": []})
    assert content["boundaries"]["crop"] == "padded"
    (image,) = content["images"]
    assert size(image["picture"]) == (24, 26)
    assert size(image["crop"]) == (26, 28)


def size(address: str) -> tuple[int, int]:
    """Width and height that a PNG's header tells."""
    from base64 import b64decode

    header = b64decode(address.partition(",")[2])[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
