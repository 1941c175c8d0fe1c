import copy
import json
import re
from html import escape
from html.parser import HTMLParser
from typing import Any

import pytest

from shiftlab.metrics import comparison, registry
from shiftlab.reports import explorer, report
from shiftlab.reports.plots import of_comparison
from shiftlab.reports.study import answer
from shiftlab.shifts.grids import NAMED_SETS
from tests.helpers import examples
from tests.metrics.test_comparison import answers, found
from tests.study import trials

IMAGES = examples(4).images
ON_GRID = [key for key in registry.metrics(14) if key not in NAMED_SETS]
STUDY_PLOTS = {"plane": b"plane"}


def share(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "images": 10_000}


def entry(model: str, seed: int, boundary: str, clean: float, right5: float) -> dict[str, Any]:
    summary = {name: share(0.5, 0.4, 0.6) for name in ON_GRID}
    sets = {
        "clean": share(clean, clean - 0.01, clean + 0.002),
        "right5": share(right5, right5 - 0.02, right5 + 0.01),
        "random5": share(right5, right5 - 0.01, right5 + 0.01),
    }
    metrics = {**sets, **summary}
    return {
        "model": model,
        "seed": seed,
        "boundary": boundary,
        "parameters": 535_818,
        "multiply_adds": 535_040,
        "metrics": metrics,
    }


def difference(p: float) -> dict[str, Any]:
    return {
        "metric": "right5",
        "first": "mlp",
        "second": "lenet",
        "difference": -0.2,
        "only_first": 100,
        "only_second": 2100,
        "p": p,
        "p_holm": p,
    }


SUMMARY: dict[str, Any] = {
    "data": "mnist",
    "shape": [1, 28, 28],
    "classes": 10,
    "radius": 14,
    "shifts": 841,
    "robust_accuracy_within": 3,
    "images": 10_000,
    "grid_images": 1000,
    "moves_survived": {"zero": {"mlp": 1, "lenet": 14}},
    "augmentation": {"mlp": {"kind": "none", "pixels": 0}, "lenet": {"kind": "shifts", "pixels": 5}},
    "models": [
        entry("mlp", 0, "zero", 0.97891, 0.3),
        entry("lenet", 0, "zero", 0.98, 0.5),
    ],
    "differences": {"zero": [difference(0.0)]},
    "over_seeds": [],
    "differences_over_seeds": {"zero": []},
}


def over(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "spread": half / 2, "low": mean - half, "high": mean + half, "seeds": 3}


def over_seeds() -> dict[str, Any]:
    """The same with three seeds, over which right5 varies by more than over images, and clean by less."""
    summary = copy.deepcopy(SUMMARY)
    summary["models"] = [
        entry(model, seed, "zero", clean, right5)
        for model, clean, right5 in (("mlp", 0.97891, 0.3), ("lenet", 0.98, 0.5))
        for seed in (0, 1, 2)
    ]
    metrics = dict.fromkeys(ON_GRID, over(0.5, 0.2))
    summary["over_seeds"] = [
        {
            "model": "mlp",
            "boundary": "zero",
            "metrics": {"clean": over(0.978, 0.001), "right5": over(0.31, 0.4), **metrics},
        },
        {
            "model": "lenet",
            "boundary": "zero",
            "metrics": {"clean": over(0.981, 0.001), "right5": over(0.52, 0.4), **metrics},
        },
    ]
    tested = {"metric": "right5", "first": "mlp", "second": "lenet", "difference": -0.21, "p": 0.01, "p_holm": 0.02}
    summary["differences_over_seeds"] = {"zero": [{**tested, "low": -0.3, "high": -0.12}]}
    return summary


def test_answer_is_a_table_of_means_with_one_interval() -> None:
    assert report.answer_table(SUMMARY).markdown().splitlines() == [
        "| model | trained on | unmoved | 5 px right | anywhere within 5 px | robust within 3 px | moves survived |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| MLP | MNIST | 97.9 ±1.0 | 30.0 ±2.0 | 30.0 ±1.0 | 50.0 ±10.0 | 1 |",
        "| LeNet-5 | MNIST, moved by up to 5 px | 98.0 ±1.0 | 50.0 ±2.0 | 50.0 ±1.0 | 50.0 ±10.0 | ≥14 |",
    ]


def test_answer_names_other_data_and_models_as_they_are() -> None:
    other = {
        **SUMMARY,
        "data": "mnist_canvas",
        "models": [{**SUMMARY["models"][0], "model": "mine"}],
        "moves_survived": {"zero": {"mine": 0}},
        "augmentation": {"mine": {"kind": "crops", "pixels": 2}},
    }
    assert "| mine | MNIST (canvas), cropped up to 2 px off the middle |" in report.answer_table(other).markdown()
    assert report.short_answer(other).endswith(
        "mine (trained on moved images) still classifies 30.0% of the 10,000 test images right; unmoved, 97.9%."
    )


def four_models() -> dict[str, Any]:
    names = ("mlp", "lenet", "resnet", "invariant")
    summary = {
        **SUMMARY,
        "models": [entry(model, 0, "zero", 0.9, 0.5) for model in names],
        "moves_survived": {"zero": dict.fromkeys(names, 14)},
        "augmentation": {name: {"kind": "shifts", "pixels": 10} for name in names},
    }
    for one in summary["models"]:
        one["metrics"] |= dict.fromkeys(("clean", "right5", "random5", "robust_accuracy_3"), share(0.5, 0.39, 0.61))
    return summary


def test_answer_fits_a_terminal_of_80_columns() -> None:
    lines = report.answer_table(four_models(), terminal=True).text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].split() == ["InvariantNet", "by", "10", "px", *["50.0", "±11.0"] * 4, "≥14"]
    rows = report.answer_table(SUMMARY, terminal=True).text().splitlines()
    assert rows[2].split() == ["MLP", "no", "97.9", "±1.0", "30.0", "±2.0", "30.0", "±1.0", "50.0", "±10.0", "1"]


def test_answer_in_one_sentence() -> None:
    assert report.short_answer(SUMMARY) == (
        "Moved 5 pixels to the right, LeNet-5 (trained on moved images) still classifies 50.0% of the 10,000 test "
        "images right; the MLP 30.0%."
    )


def test_tables_begin_with_the_answer_and_have_every_model_in_every_boundary() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["models"] += [{**one, "boundary": "circular"} for one in SUMMARY["models"]]
    text = report.tables(summary)
    assert text.startswith(report.answer_table(summary).markdown())
    assert text.count("| MLP | 97.89 ±1.00 | 30.00 ±2.00 | 30.00 ±1.00 |") == 2
    assert text.count("| 535,818 | 535,040 |") == 4
    assert "Boundary circular: content wraps round" in text


def test_means_over_seeds_have_one_interval_for_both() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["models"] = [entry("mlp", seed, "zero", 0.97, right5) for seed, right5 in enumerate((0.2, 0.3, 0.4))]
    (row,) = report.rows(summary)["zero"]
    student = 4.302653 * 0.1 / 3**0.5
    assert row.estimates["right5"].half == pytest.approx(student, rel=1e-3)  # wider than over images, by far
    assert row.cells(["clean"]) == ["97.00 ±0.60"]  # the seeds agree: that over images
    assert "Means over 3 trainings (seeds 0, 1, 2)" in report.tables(summary)
    assert "conservative" in report.tables(summary)


def test_intervals_end_where_the_metric_does() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["models"] = [entry("mlp", seed, "zero", 0.97, 0.3) for seed in range(3)]
    for one, value in zip(summary["models"], (-0.1, 0.1, 0.0), strict=True):
        one["metrics"]["corrected_consistency"] = share(value, value - 0.01, value + 0.01)
        one["metrics"]["consistency"] = share(0.0, 0.0, 0.01)
    (row,) = report.rows(summary)["zero"]
    assert row.estimates["corrected_consistency"].low < -0.2
    assert row.estimates["consistency"].low == 0


def test_what_is_undefined_says_so() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["models"][0]["metrics"]["corrected_consistency"] = {"value": None, "low": None, "high": None, "images": 9}
    assert "| undefined |" in report.tables(summary)
    assert any("(corrected consistency undefined)" in sentence for sentence in report.answer(summary))


def test_sample_of_the_shifts_is_called_one() -> None:
    text = report.tables({**SUMMARY, "shifts": 64})
    assert "Over 64 of the 841 (all within 3 pixels, and some drawn) integer shifts" in text
    assert "bootstrap over images and shifts" in text


def test_tables_say_what_their_numbers_are() -> None:
    text = report.tables(SUMMARY)
    for fact in ("10,000 test images", "MNIST", "%", "95% interval", "Boundary zero", "vacated pixels black"):
        assert fact in text
    for fact in ("841 integer shifts", "14 pixels", "1,000 test images", "bootstrap", "535,818 | 535,040", "49 shifts"):
        assert fact in text


@pytest.mark.parametrize("pixels", [1, 3])
def test_robust_accuracy_says_within_what(pixels: int) -> None:
    summary = copy.deepcopy({**SUMMARY, "robust_accuracy_within": pixels})
    for one in summary["models"]:
        one["metrics"][f"robust_accuracy_{pixels}"] = one["metrics"].pop("robust_accuracy_3")
    text = report.tables(summary)
    assert f"| robust accuracy within {pixels} px |" in text
    assert f"| robust within {pixels} px |" in text


def in_boundary(name: str) -> dict[str, Any]:
    models = [{**one, "boundary": name} for one in SUMMARY["models"]]
    return {**SUMMARY, "models": models, "moves_survived": {name: SUMMARY["moves_survived"]["zero"]}}


def test_canvas_is_called_so() -> None:
    text = report.tables({**in_boundary("canvas"), "shape": [1, 48, 48]})
    assert "Boundary canvas: the images move on a black canvas of 48x48, vacated" in text


def test_crop_is_explained() -> None:
    text = report.tables({**in_boundary("crop"), "shape": [3, 20, 26]})
    assert "Boundary crop: a window of 26x20 pixels moves over the larger image" in text


def test_tables_end_with_one_newline() -> None:
    text = report.tables(SUMMARY)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize(
    ("p", "verdict", "written"),
    [(0.0, "is significant", "p < 1e-300"), (3e-9, "is significant", "p = 3e-09"), (0.2, "is not sign", "p = 0.200")],
)
def test_answer_follows_from_the_numbers(p: float, verdict: str, written: str) -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["differences"] = {"zero": [difference(p)]}
    moved, ahead, over, beyond = report.answer(summary)
    assert "LeNet-5 50.0% and MLP 30.0%" in moved
    assert "LeNet-5 98.0% and MLP 97.9%" in moved
    assert "most robust to this shift is LeNet-5, ahead of MLP by 20.0 percentage points" in ahead
    assert verdict in ahead
    assert written in ahead
    assert "14 pixels" in over
    assert "LeNet-5 50.0% (corrected consistency 50.0%)" in beyond


@pytest.mark.parametrize(
    ("consistency", "chance", "corrected", "by_chance"),
    [
        (0.24, 0.235, 0.009, True),
        (0.24, 0.20, 0.05, False),  # a sixth of it is more
        (1.0, 0.993, 1.0, False),  # invariant, and right nearly always
        (0.99, 0.985, 0.3, False),
    ],
)
def test_consistency_beyond_chance_is_not_called_chance(
    consistency: float, chance: float, corrected: float, by_chance: bool
) -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["models"][0]["metrics"] |= {
        "consistency": share(consistency, 0.0, 1.0),
        "consistency_by_chance": share(chance, 0.0, 1.0),
        "corrected_consistency": share(corrected, 0.0, 1.0),
    }
    said = ": nearly all of the consistency of MLP is no invariance."
    assert report.answer(summary)[-1].endswith(said) == by_chance


def test_answer_over_seeds_speaks_of_means() -> None:
    moved, ahead, *_ = report.answer(over_seeds())
    assert "LeNet-5 52.0% and MLP 31.0% (means over 3 trainings)" in moved
    assert "ahead of MLP by 21.0 percentage points (95% interval 12.0 to 30.0)" in ahead
    assert "is significant (Welch's t-test over seeds, p = 0.020" in ahead


def test_one_model_is_not_compared() -> None:
    alone = {**SUMMARY, "models": SUMMARY["models"][:1], "differences": {"zero": []}}
    assert len(report.answer(alone)) == 3


def test_published_metrics_stand_beside_ours() -> None:
    summary = copy.deepcopy(SUMMARY)
    for model in summary["models"]:
        model["metrics"]["right4"] = model["metrics"]["right5"]
    table = report.published_table(summary)
    assert table
    rows = {(source, what): (theirs, ours) for source, what, theirs, ours, reason in table.rows if reason}
    assert len(rows) == len(table.rows)
    assert rows["the notebook", "MLP, clean"] == ("97.89", "97.89 ±1.00")
    assert rows["the notebook", "LeNet-5, clean"] == ("98.70", "98.00 ±1.00")
    assert rows["the notebook", "ResNet-18, clean"] == ("99.04", report.NOT_MEASURED)


def test_metrics_on_other_data_do_not_stand_beside_published_ones() -> None:
    assert report.published_table({**SUMMARY, "data": "digits"}) is None


@pytest.mark.parametrize(("radius", "ours"), [(10, "50.00 ±10.00"), (14, report.NOT_MEASURED)])
def test_metric_over_a_grid_stands_beside_one_over_the_same_grid(radius: int, ours: str) -> None:
    table = report.published_table({**SUMMARY, "data": "mnist_canvas", "radius": radius})
    assert table
    assert [row[3] for row in table.rows if row[1] == "MLP on a 48x48 canvas"] == [ours]
    assert {row[3] for row in table.rows if row[0] == "the notebook"} == {report.NOT_MEASURED}


class Links(HTMLParser):
    """Everything the page points at, and the places it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.targets += [value for name, value in values.items() if name in ("src", "href") and value]
        self.places |= {value for name, value in values.items() if name == "id" and value}
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_holds_everything_and_needs_no_network() -> None:
    summary = comparison.summarise(found())
    unmoved = {one["model"]: {"kind": "none", "pixels": 0} for one in summary["models"]}
    summary = {**summary, "augmentation": unmoved}  # which the stage adds
    pictures = {name: name.encode() for name in of_comparison(answers(), found(), IMAGES)}
    study = trials.summarised()
    explored = explorer.parts(answers(), found(), IMAGES, study)
    html = report.page(summary, pictures, {**explored, "library": "", "script": ""}, study, STUDY_PLOTS)
    links = Links()
    links.feed(html)
    assert links.open == []
    embedded = [target for target in links.targets if target.startswith("data:image/png;base64,")]
    shown = [name for name in pictures if not name.endswith(("-accuracy", "-maps", "-radius", "-confusion"))]
    assert len(shown) == len(pictures) - 8  # of both boundaries, what the explorer shows
    assert len(embedded) == len(shown) + len(STUDY_PLOTS)
    elsewhere = {target for target in links.targets if target not in embedded and not target.startswith("#")}
    assert elsewhere == {"study/index.html"}
    assert {target.removeprefix("#") for target in links.targets if target.startswith("#")} <= links.places
    assert not re.search(r"https?://", html)
    for sentence in (*report.answer(summary), *answer(study), *(claim["says"] for claim in study["claims"])):
        assert escape(sentence, quote=True).replace("&#x27;", "&#39;") in html
    for words in ("Boundary zero", "Boundary circular", "McNemar", "Consistency", "digits"):
        assert words in html


def test_page_without_a_study_of_its_data_says_how_to_run_one() -> None:
    drawn = {"image-0": b""}
    parts = {**explorer.parts(answers(), found(), IMAGES, None), "library": "", "script": ""}
    html = report.page({**SUMMARY, "data": "fashion"}, drawn, parts, None, {})
    assert "No study of Fashion-MNIST has been run: <code>dvc exp run -S study=claims -S data=fashion</code>" in html
    assert "study/index.html" not in html
    assert 'id="claim"' not in html


def test_page_escapes_names() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["data"] = "<b>"
    drawn = {"zero-gallery-<b>": b"", "image-0": b""}
    study = {**trials.summarised(), "data": "<b>"}
    study["claims"][0]["says"] = says = "</script><script>alert(1)</script>"
    explored = explorer.parts(answers(), found(), IMAGES, study)
    html = report.page(summary, drawn, {**explored, "library": "", "script": ""}, study, STUDY_PLOTS)
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert says not in html
    (content,) = re.findall('id="content">(.*?)</script>', html, re.DOTALL)
    assert json.loads(content)["claims"][0]["says"] == says
