"""Audits from Python, and what they say of models that are asked wrongly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import shiftlab
from shiftlab.audits.audit import Audit, measure
from shiftlab.audits.images import from_arrays
from shiftlab.audits.model import Model, unpack
from shiftlab.audits.preprocessing import Preprocessing
from shiftlab.config.audit import AuditOptions, PreprocessingHints
from shiftlab.errors import UserError
from shiftlab.shifts import inference
from tests.audits.models import Plain, data, trained

TEST = data().test
IMAGES, LABELS = TEST.images.numpy(), TEST.labels.numpy()
ASKED: dict[str, Any] = {"count": 80, "radius": 5, "shifts": 20, "mean": [0.1307], "std": [0.3081]}
FEW: dict[str, Any] = {**ASKED, "count": 20, "radius": 2, "boundaries": ["zero"], "any_accuracy": True}


@pytest.fixture(scope="module")
def found() -> Audit:
    return shiftlab.audit(Plain(), IMAGES, LABELS, name="plain", fail_under=["clean=0.5", "zero.right5=1"], **ASKED)


def test_metrics_are_there_with_intervals(found: Audit) -> None:
    assert list(found.metrics) == ["zero", "circular"]
    for one in (found.clean, found.accuracy, found.consistency, found.robust_accuracy):
        assert 0 <= one.low <= one.value <= one.high <= 1
        assert one.images == 80
    assert found.clean.value > 0.8
    assert found.metric("clean", "circular").value == found.clean.value
    frame = found.to_frame()
    assert frame.loc[("zero", "consistency"), "value"] == found.consistency.value
    assert "accuracy, unshifted" in repr(found)
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no metric 'speed'"):
        found.metric("speed")
    with pytest.raises(UserError, match="no boundary 'crop'"):
        found.metric("clean", "crop")


def test_consistency_is_that_of_the_brute_force(found: Audit) -> None:
    """By hand: every pair of all 25 shifts, of the whole images."""
    whole = shiftlab.audit(Plain(), IMAGES, LABELS, **{**ASKED, "radius": 2, "shifts": "all", "count": 30})
    answers = whole.predictions["zero"].grid
    model = Plain().eval()
    pairs = []
    for column in range(30):
        number = whole.images.numbers[column]
        called = []
        for dx, dy in answers.shifts.tolist():
            moved = np.zeros((28, 28), np.float32)
            source = IMAGES[number, 0].astype(np.float32)
            ys, xs = np.mgrid[0:28, 0:28]
            inside = (ys - dy >= 0) & (ys - dy < 28) & (xs - dx >= 0) & (xs - dx < 28)
            moved[inside] = source[ys[inside] - dy, xs[inside] - dx]
            with torch.inference_mode():
                called.append(int(model(torch.from_numpy((moved / 255 - 0.1307) / 0.3081)[None, None]).argmax()))
        pairs += [a == b for place, a in enumerate(called) for b in called[place + 1 :]]
    assert whole.consistency.value == pytest.approx(np.mean(pairs), abs=2e-3)
    assert found.consistency.value < 1


def test_thresholds_are_held_to(found: Audit) -> None:
    assert [(one.boundary, one.metric, one.passed) for one in found.outcomes] == [
        ("zero", "clean", True),
        ("circular", "clean", True),
        ("zero", "right5", False),
    ]
    assert not found.passed


def test_audit_is_saved_whole(found: Audit, tmp_path: Path) -> None:
    report = found.save(tmp_path / "audit")
    page = report.read_text()
    assert "How does plain fare when images are shifted?" in page
    assert "http" not in page
    summary = json.loads((tmp_path / "audit/metrics.json").read_text())
    assert summary["metrics"]["zero"]["clean"]["value"] == found.clean.value
    assert summary["protocol"] == {
        **{"radius": 5, "boundaries": ["zero", "circular"], "shifts": 66, "of_shifts": 121, "phase": 4, "seed": 0},
        "images": 80,
        "published": None,
    }
    assert set(summary["made_on"]) == {"processor", "determinism", "instructions", "threads", "torch", "python"}
    assert summary["preprocessing"]["mean"] == [0.1307]
    assert summary["model"]["digest"]
    assert summary["data"]["digest"]
    assert (tmp_path / "audit/zero/metrics.csv").exists()
    assert str(tmp_path) not in (tmp_path / "audit/metrics.json").read_text()


def test_any_function_of_a_batch_will_do() -> None:
    train = data().train
    regression = LogisticRegression(max_iter=200).fit(train.images.flatten(1).numpy() / 255, train.labels.numpy())
    found = shiftlab.audit(
        lambda batch: regression.predict_proba(batch.numpy().reshape(len(batch), -1)),
        IMAGES,
        LABELS,
        **{**ASKED, "mean": [0.0], "std": [1.0]},
    )
    assert found.clean.value > 0.85


def test_our_own_classifier_knows_its_pixels() -> None:
    plain = shiftlab.audit(Plain(), IMAGES, LABELS, **FEW)
    own = shiftlab.audit(trained(), IMAGES, LABELS, **{**FEW, "mean": None, "std": None})
    assert np.array_equal(own.predictions["zero"].grid.predicted, plain.predictions["zero"].grid.predicted)


def test_unlabelled_images_have_consistency_alone(tmp_path: Path) -> None:
    found = shiftlab.audit(Plain(), IMAGES, **ASKED)
    assert not found.labelled
    assert {one["metric"] for one in found.rows()} == {"consistency", "agreement", "euclidean", "cosine"}
    labelled = shiftlab.audit(Plain(), IMAGES[found.images.numbers], LABELS[:80], any_accuracy=True, **ASKED)
    assert found.consistency.value == labelled.consistency.value
    found.save(tmp_path)
    assert "accuracy" not in (tmp_path / "report.html").read_text().split("<h2")[1]
    with pytest.raises(UserError, match="on an unknown metric: choose of agreement, consistency"):
        shiftlab.audit(Plain(), IMAGES, fail_under=["clean=0.5"], **ASKED)


@pytest.mark.parametrize(
    ("otherwise", "tried"),
    [
        ({"mean": [-5.0], "std": [1.0]}, "mean and std of MNIST"),
        ({"white": 255.0, "mean": [2000.0], "std": [1.0]}, "mean and std of MNIST"),
    ],
)
def test_model_that_is_asked_wrongly_is_told_what_would_do(otherwise: dict[str, Any], tried: str) -> None:
    with pytest.raises(UserError, match="is not far above chance") as caught:
        shiftlab.audit(Plain(), IMAGES, LABELS, **{**ASKED, **otherwise})
    message = str(caught.value)
    assert f"{tried} 9" in message  # percent
    assert "--range, --mean and --std, --channels" in message


def test_classes_in_another_order_are_noticed() -> None:
    with pytest.raises(UserError, match=r"the classes in another order 9\d\.\d%"):
        shiftlab.audit(Plain(), IMAGES, (LABELS + 1) % 10, **ASKED)
    shiftlab.audit(Plain(), IMAGES, (LABELS + 1) % 10, **FEW)


def test_random_models_are_told_of() -> None:
    class Noisy(Plain):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + torch.randn(len(images), 10)

    torch.manual_seed(0)
    found = shiftlab.audit(Noisy(), IMAGES, LABELS, **FEW)
    assert any("it is random" in note for note in found.metadata["model"]["notes"])


def test_model_in_training_mode_is_put_right_and_told_of() -> None:
    model = Plain().train()
    found = shiftlab.audit(model, IMAGES, LABELS, **FEW)
    assert any("training mode" in note for note in found.metadata["model"]["notes"])
    assert np.array_equal(
        found.predictions["zero"].grid.predicted,
        shiftlab.audit(Plain().eval(), IMAGES, LABELS, **FEW).predictions["zero"].grid.predicted,
    )


def test_model_is_left_as_it_was_for_its_training_to_go_on() -> None:
    model = nn.Sequential(Plain(), nn.BatchNorm1d(10), nn.Dropout(0.5)).train()
    model[1].eval()  # a frozen part
    before = [part.training for part in model.modules()]
    shiftlab.audit(model, IMAGES, LABELS, **FEW)
    assert [part.training for part in model.modules()] == before
    with pytest.raises(UserError):
        shiftlab.audit(model, IMAGES, LABELS, **{**ASKED, "radius": 30})
    assert [part.training for part in model.modules()] == before


class Output:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


ROWS = torch.randn(4, 3)


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        ROWS.numpy(),
        ROWS.tolist(),
        (ROWS,),
        (ROWS, torch.randn(4, 3, 5)),
        {"logits": ROWS, "hidden": torch.randn(4, 9)},
        {"output": ROWS},
        Output(ROWS),
    ],
)
def test_outputs_are_unpack(given: object) -> None:
    assert torch.allclose(unpack(given, 4, "it"), ROWS)


@pytest.mark.parametrize(
    "given", [torch.randn(4), torch.randn(3, 3), {"a": ROWS, "b": ROWS}, (ROWS, torch.randn(4, 9)), None]
)
def test_outputs_that_can_be_misread_are_refused(given: object) -> None:
    with pytest.raises(UserError, match="one row of logits or probabilities for each image"):
        unpack(given, 4, "it")


def wrong(outputs: Tensor) -> Any:
    return lambda batch: outputs.expand(len(batch), -1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (wrong(torch.full((1, 10), torch.nan)), "not finite"),
        (wrong(torch.zeros(1, 1)), "gives 1 numbers for each image"),
        (wrong(torch.zeros(1, 7)), "has 7 outputs, and images 10 classes"),
        (nn.Conv2d(3, 1, 3), "fails on float32 inputs of"),
    ],
)
def test_models_that_can_not_be_audited_are_refused(model: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        shiftlab.audit(model, IMAGES, LABELS, **ASKED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("otherwise", "words"),
    [
        ({"boundaries": ["sideways"]}, "boundaries is"),
        ({"radius": 0}, "radius is 0"),
        ({"radius": 28}, "shifts images of 28x28 pixels out of sight"),
        ({"shifts": 3}, "shifts is 3"),
        ({"count": 0}, "count is 0"),
        ({"fail_under": ["speed=1"]}, "on an unknown metric"),
        ({"fail_under": ["clean=95"]}, "is no share"),
        ({"fail_under": ["crop.clean=0.9"]}, "on a boundary that is not measured"),
        ({"mean": None}, "nothing says how pixels become"),
        ({"regimes": ["zero"]}, "^regimes is called boundaries now: write that instead$"),
        ({"speed": 1}, "^speed is not an option: choose of resize, frame"),
        ({"white": 2}, "white is 2: it is what a white pixel becomes, 1 or 255"),
        ({"channels": "rgba"}, "channels is 'rgba': choose of grey, rgb, bgr"),
        ({"boundaries": ["zero", "zero"]}, "they must differ"),
    ],
)
def test_options_that_can_not_be_are_refused(otherwise: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        shiftlab.audit(Plain(), IMAGES, LABELS, **{**ASKED, **otherwise})


def test_streaming_in_chunks_changes_nothing(found: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "MOST_IN_TASK", 7)
    again = shiftlab.audit(Plain(), IMAGES, LABELS, name="plain", **ASKED)
    for boundary, answers in found.predictions.items():
        assert np.array_equal(again.predictions[boundary].grid.predicted, answers.grid.predicted)
        assert np.array_equal(again.predictions[boundary].sets["random5"].shifts, answers.sets["random5"].shifts)
        assert np.array_equal(again.predictions[boundary].grid.ink, answers.grid.ink)
        assert again.metrics[boundary].estimates == found.metrics[boundary].estimates


def test_crops_bring_real_content_in() -> None:
    larger = np.random.default_rng(0).integers(0, 256, (40, 40, 44), dtype=np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 4))
    found = shiftlab.audit(
        model, larger, boundaries=["crop"], frame=(28, 28), mean=[0], std=[1], radius=5, shifts="all"
    )
    ink = found.predictions["crop"].grid.ink
    place = found.predictions["crop"].grid.shifts.tolist().index([3, -2])
    assert ink[place, 0] == larger[0, 6 + 2 : 34 + 2, 8 - 3 : 36 - 3].sum()


def test_what_was_kept_of_another_model_is_not_gone_on_with(tmp_path: Path) -> None:
    """Functions have no weights to be known by."""
    images = from_arrays("some", IMAGES[:40], LABELS[:40])
    seen = Preprocessing.of(PreprocessingHints(frame=(28, 28), channels="grey", mean=(0.1307,), std=(0.3081,)), None)
    options = AuditOptions(boundaries=("zero",), radius=2, shifts="all", any_accuracy=True)
    plain = Plain().eval()
    answers = []
    for function in (plain, lambda batch: plain(batch).roll(1, dims=1)):
        model = Model("model.py:build", "python", function)
        found = measure(model, images, seen, options, torch.device("cpu"), unfinished=tmp_path)
        answers.append(found.predictions["zero"].grid.predicted)
    assert np.array_equal(answers[1], (answers[0] + 1) % 10)
