"""Numbers that were wrong, as users typed for them; the right value comes by another means."""

import gc
import json
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from typer.testing import CliRunner

import shiftlab
from shiftlab import ShiftConsistency
from shiftlab.cli import app
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError
from shiftlab.metrics import pairing, registry
from shiftlab.metrics.intervals import Proportion, Resampled, Statistic, resampled_mean
from shiftlab.metrics.radii import by_radius, calibration_error
from shiftlab.shifts.grids import grid, sample
from shiftlab.shifts.transform import shift
from tests.audits.models import NORMALISED, Plain, data
from tests.metrics.grids import a_grid, on_grid

TEST = data().test
IMAGES, LABELS = TEST.images.numpy(), TEST.labels.numpy()
OPTIONS: dict[str, Any] = {"mean": [0.1307], "std": [0.3081], "any_accuracy": True, "boundaries": ["zero"]}
BOTH: tuple[BoundaryName, ...] = ("zero", "circular")
NAMES = tuple(f"digit {number}" for number in range(10))


class Reordered(nn.Module):
    """The same network whose outputs come in the reverse order."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.plain(images).flip(1)
        return logits


def simulated(
    rng: np.random.Generator, per_class: int, radius: int, kappa: float = 0.6, right: float = 0.5
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return predictions of 10 classes, of which corrected consistency is kappa, with labels.

    An image has a prediction of its own, right with that chance, which it gets at a shift with the chance kappa^0.5,
    and else another that is drawn anew. Different images agree by right^2 + (1 - right)^2 / 9.
    """
    labels = np.repeat(np.arange(10), per_class)

    def draw(*size: int) -> NDArray[np.integer]:
        return np.where(rng.random(size) < right, labels, (labels + rng.integers(1, 10, size)) % 10)

    size = ((2 * radius + 1) ** 2, len(labels))
    predicted = np.where(rng.random(size) < kappa**0.5, draw(1, len(labels)), draw(*size))
    return predicted.astype(np.uint8), labels.astype(np.uint8)


def measure(predicted: NDArray[np.uint8], labels: NDArray[np.uint8], radius: int) -> dict[str, Statistic]:
    return registry.measure(on_grid(a_grid(predicted, grid(radius)), labels), radius)


# 1. Robust accuracy from a drawn grid


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_audit_with_fail_under_robust_accuracy_and_16_drawn_shifts(radius: int) -> None:
    key = f"robust_accuracy_{min(3, radius)}"
    options = {**OPTIONS, "radius": radius, "fail_under": [f"{key}=0.9"], "count": 20}
    drawn, whole = (shiftlab.audit(Plain(), IMAGES, LABELS, shifts=shifts, **options) for shifts in (16, "all"))
    assert drawn.robust_accuracy == whole.robust_accuracy
    assert f"robust accuracy within {min(3, radius)} px" in drawn.table()
    assert f"zero.{key} is {100 * whole.robust_accuracy.value:.2f}%" in drawn.table()


def test_radius_csv_of_drawn_shifts_has_no_robust_accuracy_beyond_3_px() -> None:
    """Over some of a radius' shifts it would be too high."""
    whole, shifts = grid(6), sample(6, 40, 0)
    predicted = np.random.default_rng(0).random((169, 50)) < 0.995
    rows = [whole.tolist().index(place) for place in shifts.tolist()]
    labels = np.ones(50, np.uint8)
    exact = {at.radius: at.robust_accuracy for at in by_radius(a_grid(predicted.astype(np.uint8), whole), labels)}
    for at in by_radius(a_grid(predicted[rows].astype(np.uint8), shifts), labels):
        assert at.robust_accuracy == exact[at.radius] if at.radius <= 3 else np.isnan(at.robust_accuracy.value)


# 2. Corrected consistency


def test_consistency_by_chance_is_the_agreement_of_different_images_by_brute_force() -> None:
    """With classes of one, two and five images, of which the first is left out."""
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2], dtype=np.uint8)
    predicted = rng.integers(0, 3, (25, 8)).astype(np.uint8)
    shifts = list(permutations(range(25), 2))
    consistent = np.mean([predicted[s] == predicted[t] for s, t in shifts], axis=0)
    by_class = [
        np.mean([np.mean([predicted[s, i] == predicted[t, j] for s, t in shifts]) for i, j in permutations(members, 2)])
        for members in ([1, 2], range(3, 8))
    ]
    chance = (2 * by_class[0] + 5 * by_class[1]) / 7
    statistics = measure(predicted, labels, radius=2)
    estimate = statistics["consistency_by_chance"].estimate
    assert estimate.value == pytest.approx(chance)
    assert estimate.images == 7
    assert statistics["corrected_consistency"].estimate.value == pytest.approx(
        (consistent[1:].mean() - chance) / (1 - chance)
    )


def test_corrected_consistency_with_one_image_a_class_is_undefined_and_the_audit_says_so() -> None:
    first = [int(np.argmax(label == LABELS)) for label in range(10)]
    options = {**OPTIONS, "radius": 1, "fail_under": ["corrected_consistency=0.5"]}
    audit = shiftlab.audit(Plain(), IMAGES[first], LABELS[first], **options)
    assert not audit.passed
    assert "FAILED: zero.corrected_consistency is undefined, at least 50% asked" in audit.table()
    assert json.loads(json.dumps(audit.summary(), allow_nan=False))["thresholds"][0]["value"] is None
    assert np.isnan(audit.metric("corrected_consistency").value)
    assert any("classes of one image" in note and note.endswith(": 10") for note in audit.metadata["model"]["notes"])


@pytest.mark.parametrize(("per_class", "studies"), [(2, 60), (5, 40), (100, 4)])
def test_corrected_consistency_is_right_on_average_from_2_to_100_images_a_class(per_class: int, studies: int) -> None:
    rng = np.random.default_rng(per_class)
    statistics = [measure(*simulated(rng, per_class, 1), 1) for _ in range(studies)]
    for metric, truth in {"consistency_by_chance": 0.25 + 0.25 / 9, "corrected_consistency": 0.6}.items():
        estimates = [of[metric].estimate for of in statistics]
        values = np.array([estimate.value for estimate in estimates])
        assert abs(values.mean() - truth) < 3 * values.std() / studies**0.5
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in estimates)


def test_corrected_consistency_of_5_images_a_class_and_289_shifts_does_not_pair_an_image_with_itself() -> None:
    """C = .54 in 10 classes: .233 where the unbiased value is .274."""
    rng, kappa = np.random.default_rng(0), 0.274
    chance = (0.54 - kappa) / (1 - kappa)
    studies = [measure(*simulated(rng, 5, 8, kappa, right=(1 + (90 * chance - 9) ** 0.5) / 10), 8) for _ in range(12)]
    for key, truth in {"consistency": 0.54, "corrected_consistency": kappa}.items():
        assert np.mean([of[key].estimate.value for of in studies]) == pytest.approx(truth, abs=0.02)


@pytest.mark.slow
def test_intervals_of_corrected_consistency_cover_its_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        estimate = measure(*simulated(rng, 50, 1), 1)["corrected_consistency"].estimate
        covered += estimate.low <= 0.6 <= estimate.high
    assert 0.92 <= covered / 400 <= 0.98


# 3. Classes are matched by name


@pytest.mark.usefixtures("undrawn")
def test_compare_of_a_model_with_itself_under_reordered_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy over the grid: +75.03, p = 0.006, where both columns read 77.6."""
    monkeypatch.chdir(tmp_path)
    for model, names in (("tests.audits.models:build", "0123456789"), (f"{__name__}:Reordered", "9876543210")):
        Path("names.txt").write_text("\n".join(names))
        options = ["--classes", "names.txt", "--images", "60", "--radius", "2", "--boundary", "zero", "--out", names]
        assert CliRunner().invoke(app, ["audit", model, "--data", "digits", *NORMALISED, *options]).exit_code == 0
    comparison = shiftlab.compare("0123456789", "9876543210")
    assert {row["difference"] for row in comparison.differences["zero"]} == {0.0}
    assert {row["p_holm"] for row in comparison.differences["zero"]} == {1.0}
    first, second = comparison.metrics["zero"].values()
    assert first.class_scores == second.class_scores
    assert first.nearest_failing_shifts == second.nearest_failing_shifts
    for name, matrix in first.confusion_matrices.items():
        np.testing.assert_array_equal(matrix, second.confusion_matrices[name])
    for name, of_first in first.maps.items():
        np.testing.assert_array_equal(of_first.value, second.maps[name].value)


def test_compare_of_audits_whose_classes_go_by_other_names_is_refused() -> None:
    options = {**OPTIONS, "count": 30, "radius": 1}
    digits, letters, numbers = (
        shiftlab.audit(Plain(), IMAGES, LABELS, name="plain", classes=names, **options)
        for names in (NAMES, tuple("abcdefghij"), None)
    )
    with pytest.raises(UserError, match=r"is 'digit \d' and '[a-j]'; name the outputs of both alike"):
        shiftlab.compare(digits, letters)
    assert {row["difference"] for row in shiftlab.compare(digits, numbers).differences["zero"]} == {0.0}


# 4. p of paired grids


def test_compare_of_five_models_that_differ_by_much_is_significant_after_holm() -> None:
    """1,000 resamples can't tell p below 2 in 1,000, times 50 rows."""
    rng = np.random.default_rng(0)
    models: dict[str, dict[str, Statistic]] = {
        f"m{level}": {f"metric {number}": resampled_mean(rng.normal(level, 1, 200)) for number in range(5)}
        for level in range(5)
    }
    rows = pairing.differences(models)
    assert len(rows) == 50
    assert max(row.p_holm for row in rows) < 1e-10


def test_p_of_a_few_images_that_differ_is_no_smaller_than_the_exact_sign_flip_tests() -> None:
    for count in (1, 3, 5, 8):
        first = np.zeros(100)
        first[:count] = 1.0
        (row,) = pairing.differences({"a": {"m": resampled_mean(first)}, "b": {"m": resampled_mean(np.zeros(100))}})
        assert row.p >= 2.0 ** (1 - count)
    every = {"a": {"m": resampled_mean(np.ones(7))}, "b": {"m": resampled_mean(np.zeros(7))}}
    assert pairing.differences(every)[0].p == 2.0**-6  # all seven alike: no spread, but seven images


def no_effect(rng: np.random.Generator, images: int, differing: float) -> dict[str, dict[str, Statistic]]:
    """Three models that fail on the same images but for some, of which each has answers of its own."""
    hardness = rng.beta(5, 1, (4, images))

    def values() -> NDArray[np.float64]:
        return np.where(rng.random((4, images)) < differing, rng.beta(2, 2, (4, images)), hardness)

    return {
        model: {
            **{f"over the grid {number}": resampled_mean(row) for number, row in enumerate(values())},
            "clean": Proportion(values()[0] > 0.6),
        }
        for model in "abc"
    }


@pytest.mark.slow
@pytest.mark.parametrize(("images", "differing"), [(60, 0.5), (200, 0.5), (200, 0.05)])
def test_of_2000_studies_without_effect_at_most_6_percent_call_a_difference(images: int, differing: float) -> None:
    rng = np.random.default_rng(0)
    gc.freeze()  # statsmodels collects garbage at each correction: a quarter of a second where much is imported
    calls = [
        min(row.p_holm for row in pairing.differences(no_effect(rng, images, differing))) < 0.05 for _ in range(2000)
    ]
    gc.unfreeze()
    assert np.mean(calls) <= 0.06


# 5. ShiftConsistency


def on_raw(images: Tensor) -> Tensor:
    logits: Tensor = Plain()((images.float() / 255 - 0.1307) / 0.3081)
    return logits


def one_by_one(answers: Iterator[Tensor], images: Tensor) -> Tensor:  # noqa: ARG001
    """Return the next of the answers, whatever the images."""
    return nn.functional.one_hot(next(answers), 10).float()


def test_shift_consistency_with_drawn_shifts_is_right_on_average() -> None:
    """Exact from counts over s != t: .179, for which .176 came out."""
    images = TEST.images[:8]
    with torch.inference_mode():
        answers = {(dx, dy): on_raw(shift(images, dx, dy, "zero")).argmax(1) for dx, dy in grid(5).tolist()}
    table = torch.stack([*answers.values()]).numpy()
    exact = np.mean([table[s] == table[t] for s, t in permutations(range(121), 2)])

    values = []
    for seed in range(60):
        metric = ShiftConsistency(radius=5, shifts=16, seed=seed)
        in_order = iter([answers[tuple(place)] for place in metric.shifts.tolist()])
        metric.update(partial(one_by_one, in_order), images)
        values.append(metric.compute().item())
    assert abs(np.mean(values) - exact) < 3 * np.std(values) / 60**0.5
    assert 0 <= min(values) < max(values) <= 1


def test_metric_collection_with_accuracy_update_by_name() -> None:
    images, labels = TEST.images[:20], TEST.labels[:20].long()
    metrics = MetricCollection({"accuracy": MulticlassAccuracy(10, average="micro"), "shifts": ShiftConsistency()})
    metrics.update(preds=on_raw(images), target=labels, network=on_raw, images=images)
    values = metrics.compute()
    assert values["accuracy"] == (on_raw(images).argmax(1) == labels).float().mean()
    assert 0 < values["shifts"] <= 1
    with pytest.raises(UserError, match="in a MetricCollection name the arguments"):
        metrics["shifts"].update(on_raw(images), labels)


def test_metric_collection_update_of_two_boundaries_by_position() -> None:
    """After a batch on which both are 1 they are two metrics still."""
    metrics = MetricCollection({name: ShiftConsistency(radius=5, boundary=name) for name in BOTH})
    metrics.update(lambda images: torch.eye(10)[torch.zeros(len(images), dtype=torch.long)], TEST.images[:5])
    metrics.update(on_raw, TEST.images[:40])
    values = metrics.compute()
    for name in BOTH:
        alone = ShiftConsistency(radius=5, boundary=name)
        alone.update(on_raw, TEST.images[:40])
        assert values[name].item() == pytest.approx((5 + 40 * alone.compute().item()) / 45)
    assert values["zero"] != values["circular"]


def test_shift_consistency_of_a_network_that_returns_an_object_with_logits() -> None:
    class Output:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    plain, wrapped = ShiftConsistency(), ShiftConsistency()
    plain.update(on_raw, TEST.images[:10])
    wrapped.update(lambda images: Output(on_raw(images)), TEST.images[:10])
    assert plain.compute() == wrapped.compute()


# 6. Calibration error


def test_calibration_errors_interval_holds_its_value_in_60_of_60_audits() -> None:
    rng = np.random.default_rng(0)
    for images in range(1, 61):
        confidence = rng.beta(5, 1.5, (1, images))
        estimate = calibration_error(confidence, rng.random((1, images)) < confidence)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_calibration_error_of_1000_images_is_less_its_bias() -> None:
    """A calibrated model read .031; one that is too sure by .084 is read so."""
    rng = np.random.default_rng(1)
    values: dict[str, list[float]] = {"calibrated": [], "too sure": []}
    for _ in range(30):
        confidence = rng.beta(5, 1.5, (1, 1000))
        right = rng.random((1, 1000))
        values["calibrated"].append(calibration_error(confidence, right < confidence).value)
        values["too sure"].append(calibration_error(confidence, right < confidence**1.5).value)
    assert np.mean(values["calibrated"]) < 0.02
    assert np.mean(values["too sure"]) == pytest.approx(0.084, abs=0.005)


def test_interval_of_every_metric_holds_its_value() -> None:
    rng = np.random.default_rng(3)
    for per_class in (1, 2, 3):
        for statistic in measure(*simulated(rng, per_class, 1), 1).values():
            estimate = statistic.estimate
            assert np.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high
    lopsided = Resampled(0.5, np.linspace(0.6, 0.9, 1000), np.zeros(10)).estimate
    assert lopsided.low == 0.5
