import numpy as np
import pytest
from scipy.stats import ttest_ind
from statsmodels.stats.contingency_tables import mcnemar

from shiftlab.metrics import pairing, registry
from shiftlab.metrics.intervals import Proportion, Statistic
from shiftlab.shifts.grids import Shifts, grid, sample
from shiftlab.shifts.predictions import GridPredictions
from tests.metrics.grids import on_grid

LABELS = np.random.default_rng(0).integers(0, 5, 60).astype(np.uint8)


def made_up(shifts: Shifts, right: float, seed: int) -> GridPredictions:
    rng = np.random.default_rng(seed)
    size = (len(shifts), len(LABELS))
    wrong = rng.random(size) > right
    predicted = np.where(wrong, (LABELS + rng.integers(1, 5, size)) % 5, LABELS).astype(np.uint8)
    blank = np.zeros(size, np.float16)
    return GridPredictions(
        np.arange(len(LABELS), dtype=np.int32), shifts, predicted, blank, blank, blank, np.ones(size, np.int32)
    )


def measured(grid: GridPredictions) -> dict[str, Statistic]:
    return registry.measure(on_grid(grid, LABELS), int(np.abs(grid.shifts).max()))


@pytest.mark.parametrize("shifts", [grid(3), sample(5, 30, 0)])
def test_differences_are_those_of_the_metrics(shifts: Shifts) -> None:
    grids = {"good": made_up(shifts, 0.9, 1), "bad": made_up(shifts, 0.5, 2), "same": made_up(shifts, 0.9, 1)}
    models = {name: measured(one) for name, one in grids.items()}
    rows = pairing.differences(models)
    assert len(rows) == 3 * len(models["good"])
    assert {row.metric for row in rows} == set(models["good"])
    for row in rows:
        first, second = models[row.first][row.metric].estimate, models[row.second][row.metric].estimate
        assert row.difference == pytest.approx(first.value - second.value, abs=1e-12)
        assert row.p_holm >= row.p
        if row.metric == "robust_accuracy_3":
            assert row.low is row.high is None
        elif {row.first, row.second} == {"good", "same"} or row.metric in ("euclidean", "cosine"):
            assert (row.difference, row.low, row.high, row.p) == (0, 0, 0, 1)
        else:
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.difference <= row.high
            if row.metric != "corrected_consistency":
                assert row.p <= 0.002 + 1e-12


def test_metric_that_is_undefined_does_not_differ() -> None:
    """Never wrong: of its consistency nothing can be told from chance."""
    models = {"exact": measured(made_up(grid(1), 1.0, 1)), "other": measured(made_up(grid(1), 0.5, 2))}
    rows = pairing.differences(models)
    (row,) = [row for row in rows if row.metric == "corrected_consistency"]
    assert np.isnan(row.difference)
    assert row.p == row.p_holm == 1


def test_pairing_tells_more_than_two_intervals() -> None:
    """A model that errs where another does, and at one shift more: the same images are hard for both."""
    shifts = grid(2)
    first = made_up(shifts, 0.6, 1)
    worse = first.predicted.copy()
    worse[0] = (LABELS + 1) % 5
    second = GridPredictions(**{**vars(first), "predicted": worse})
    rows = pairing.differences({"first": measured(first), "second": measured(second)})
    (difference,) = [row for row in rows if row.metric == "grid"]
    apart = measured(first)["grid"].estimate
    assert difference.low is not None
    assert difference.high is not None
    assert difference.high - difference.low < (apart.high - apart.low) / 2


def test_differences_are_mcnemars_with_holms_correction() -> None:
    rng = np.random.default_rng(0)
    right = {
        name: {model: rng.random(500) < accuracy for model, accuracy in (("a", 0.9), ("b", 0.85), ("c", 0.84))}
        for name in ("clean", "right5")
    }
    found = pairing.differences({model: {name: Proportion(right[name][model]) for name in right} for model in "abc"})
    assert [(one.metric, one.first, one.second) for one in found] == [
        (name, *pair) for name in right for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    for one in found:
        first, second = right[one.metric][one.first], right[one.metric][one.second]
        table = [[int((row & other).sum()) for other in (second, ~second)] for row in (first, ~first)]
        assert one.p == pytest.approx(mcnemar(table, exact=True).pvalue)
        assert one.difference == pytest.approx(first.mean() - second.mean())
        assert (one.only_first, one.only_second) == (table[0][1], table[1][0])
    in_order = sorted(found, key=lambda one: one.p)
    running = 0.0
    for rank, one in enumerate(in_order):
        running = max(running, min(1.0, (len(found) - rank) * one.p))
        assert one.p_holm == pytest.approx(running)


def test_models_that_agree_do_not_differ() -> None:
    same = np.array([True, False, True])
    (one,) = pairing.differences({"a": {"clean": Proportion(same)}, "b": {"clean": Proportion(same.copy())}})
    assert (one.difference, one.p, one.p_holm) == (0, 1, 1)
    assert pairing.differences({"a": {"clean": Proportion(same)}}) == []


def test_differences_over_seeds_are_welchs_with_holms_correction() -> None:
    values = {
        "clean": {"a": [0.98, 0.97, 0.975], "b": [0.99, 0.991, 0.992]},
        "right5": {"a": [0.2, 0.4], "b": [0.3, 0.1]},
    }
    found = pairing.differences_over_seeds({model: {name: values[name][model] for name in values} for model in "ab"})
    assert [(one.metric, one.first, one.second) for one in found] == [("clean", "a", "b"), ("right5", "a", "b")]
    for one in found:
        theirs = ttest_ind(values[one.metric]["a"], values[one.metric]["b"], equal_var=False)
        interval = theirs.confidence_interval(0.95)
        assert [one.p, one.low, one.high] == pytest.approx([theirs.pvalue, interval.low, interval.high])
        assert one.difference == pytest.approx(np.mean(values[one.metric]["a"]) - np.mean(values[one.metric]["b"]))
    assert found[0].p_holm == pytest.approx(2 * found[0].p)
    assert found[1].p_holm == pytest.approx(max(found[1].p, 2 * found[0].p))


@pytest.mark.filterwarnings("error")
def test_seeds_that_are_all_alike_have_no_interval() -> None:
    same, other = pairing.differences_over_seeds(
        {"a": {"clean": [0.5, 0.5], "right5": [0.5, 0.5]}, "b": {"clean": [0.5, 0.5], "right5": [0.4, 0.4]}}
    )
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert other.low == other.high == other.difference == pytest.approx(0.1)
    assert other.p == 0
