import re
from typing import Any

import pytest

from shiftlab.show import study
from tests.helpers import SRC
from tests.study import trials


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return trials.summarised()


def test_answer_follows_from_the_numbers(summary: dict[str, Any]) -> None:
    effects = {claim["claim"]: claim["contrasts"][0] for claim in summary["claims"]}
    by = 100 * effects["convolution"]["by"]
    first, second, *rest = study.answer(summary)
    assert "the architecture matters most: “max” instead of “dense” changes the accuracy" in first
    assert f"by {by:+.2f} [" in first
    assert f"downsampling {100 * effects['blur']['by']:+.1f} (“blurred” instead of “max”)" in second
    assert rest == [
        "What the notebook says and the study supports: Convolution helps.",
        "What the notebook says and the study contradicts: A blur harms.",
        "What the notebook says and has no effect worth a point in some contrast: What is the same is not.",
    ]


def test_the_largest_effect_leads_whatever_its_sign() -> None:
    summary = trials.summarised()
    for claim in summary["claims"]:
        if claim["claim"] == "convolution":
            for one in claim["contrasts"]:
                one |= {"by": -0.001, "low": -0.002, "high": 0.0005, "verdict": "no effect worth a point"}
    first, _, third, *_ = study.answer(summary)
    assert "the downsampling matters most" in first
    assert third == "Not worth a point: “max” instead of “dense”."


def test_tables_hold_every_contrast_and_variant(summary: dict[str, Any]) -> None:
    text = study.tables(summary)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    contrasts = sum(len(claim["contrasts"]) for claim in summary["claims"])
    assert len(rows) == 2 + contrasts + len(summary["variants"])
    assert "| moved less max, less blurred less max | random5, zero |" in text
    assert "| polyphase: exactly 100% | consistency, circular | +0.00 [+0.00, +0.00] |" in text
    assert "| wide | - | - | - | - | - | 14,458 | 1,467,968 |" in text  # not measured on images as they are
    (dense,) = (row for row in rows if row.startswith("| dense |"))
    assert re.search(r"\| \d+\.\d\d \((\*\*)?s ±\d+\.\d\d", dense)


def test_verdicts_are_a_line_a_claim(summary: dict[str, Any]) -> None:
    text = study.verdicts(summary)
    assert all(f"| {claim['says']} | {claim['by']} | **{claim['verdict']}** |" in text for claim in summary["claims"])
    assert text.startswith(study.answer(summary)[0])


def test_page_needs_nothing_else_and_says_what_it_knows(summary: dict[str, Any]) -> None:
    pictures = {name: name.encode() for name in ("effects", "curves", "plane")}
    page = study.page(summary, pictures)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/png;base64,") == 3
    assert "Moving outweighs &lt;components&gt;." in page
    for claim in summary["claims"]:
        assert claim["verdict"] in page
    assert "<strong>" in page
    assert study.page(summary, pictures) == page


def test_published_figures_stand_beside_ours_where_there_are_some(summary: dict[str, Any]) -> None:
    assert study.published(summary) == []  # the digits of scikit-learn are others
    (row,) = study.published({**summary, "data": "mnist"})  # those of variants that this one lacks are left out
    assert row["source"] == "CS671, assignment 2"
    assert re.fullmatch(r"dense \d+\.\d\d% \(right4, zero\) and max \d+\.\d\d% \(right4, zero\)", row["ours"])
    named = {name for one in study.PUBLISHED for name, _, _ in one.ours}
    conf = (SRC.parent / "conf/study/claims.yaml").read_text()
    assert all(re.search(rf"^  {name}:", conf, re.MULTILINE) for name in named)


@pytest.mark.parametrize(("p", "words"), [(1e-320, "p < 1e-300"), (0.0002, "p = 0.0002"), (0.5, "p = 0.500")])
def test_probabilities_are_written_as_in_the_report(p: float, words: str, summary: dict[str, Any]) -> None:
    summary = {**summary, "claims": [dict(claim) for claim in summary["claims"][:1]]}
    summary["claims"][0]["contrasts"] = [{**one, "corrected": p} for one in summary["claims"][0]["contrasts"]]
    assert f"| {words} |" in study.tables(summary)
