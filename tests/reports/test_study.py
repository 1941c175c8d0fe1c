import json
import re
from typing import Any

import pytest

from shiftlab.reports import blocks, study
from tests.helpers import ROOT, SRC
from tests.study import trials

NOT_YET = "This edition decides by accuracy within 5 px, since agreement within 5 px was not measured."


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return trials.summarised()


def test_answer_follows_from_the_numbers(summary: dict[str, Any]) -> None:
    accuracy = {name: 100 * mean(summary, name) for name in ("max", "moved", "blurred")}
    first, second, *rest = study.answer(summary)
    assert first.startswith(
        "Of 2 changes of a single setting, training on moved images (up to 3 px) has the largest effect"
    )
    assert f"from {accuracy['max']:.1f} to {accuracy['moved']:.1f}%" in first
    assert f"by {accuracy['moved'] - accuracy['max']:+.1f} ±" in first
    by = accuracy["blurred"] - accuracy["max"]
    assert second.endswith(f"in points of that accuracy. Blurred max pooling instead of max pooling: {by:+.1f}.")
    assert rest == [
        "What the notebook says and the study supports: Convolution helps.",
        "What the notebook says and the study contradicts: A blur harms.",
        "What the notebook says and has no effect worth a point: What is the same is not.",
        "What the notebook says and depends: It depends: supported for a blur, contradicted for no convolution.",
    ]


def mean(summary: dict[str, Any], name: str) -> float:
    (variant,) = (one for one in summary["variants"] if one["variant"] == name)
    value: float = variant["metrics"]["zero"]["random5"]["mean"]
    return value


def test_single_changes_differ_in_one_setting_and_the_largest_leads_whatever_its_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summary = trials.summarised()
    assert [one.setting for one in study.single_changes(summary)] == ["augmentation", "downsampling"]
    (worse,) = (one for one in summary["variants"] if one["variant"] == "blurred")
    metric = worse["metrics"]["zero"]["random5"]
    metric |= {"values": [0.01, 0.02, 0.03], "mean": 0.02}
    largest, other = study.single_changes(summary)
    assert largest.effect.difference == pytest.approx(0.02 - mean(summary, "max"))
    assert other.effect.difference > 0 > largest.effect.high
    table = study.changes_table(summary)
    assert table
    assert [row[0].split()[0] for row in table.rows] == ["baseline:", "training", "blurred"]  # sorted by effect
    monkeypatch.setattr(study, "LARGEST_CHANGES", 1)
    assert "the 1 largest of 2" in study.tables(summary)


def test_a_change_of_several_settings_is_none() -> None:
    summary = trials.summarised()
    for variant in summary["variants"]:
        if variant["variant"] == "moved":
            variant["lr"] *= 2
    assert [one.setting for one in study.single_changes(summary)] == ["downsampling"]


def test_where_it_comes_from_on_mnist() -> None:
    summary = json.loads((ROOT / "metrics/study.json").read_text())
    table = study.changes_table(summary)
    assert table
    assert [row[0] for row in table.rows] == [
        "baseline: max pooling, flattened head",
        "training on moved images (up to 5 px)",
        "global max head instead of flattened",
        "global average head instead of flattened",
        "small stem instead of ImageNet's (narrow ResNet-18, from 60.2%)",
        "larger max pooling instead of max pooling",
        "5 convolutions instead of 3",
        "no pooling instead of max pooling",
        "no activation instead of ReLU",
        "strides instead of max pooling",
        "2 convolutions instead of 3",
    ]
    assert [row[2].split()[0] for row in table.rows[1:6]] == ["+36.8", "+34.5", "+31.6", "+22.9", "+13.4"]


def test_committed_tables_and_page_are_those_of_the_committed_numbers() -> None:
    """After a change to what they say, `scripts/redecide.py` writes them anew."""
    summary = json.loads((ROOT / "metrics/study.json").read_text())
    assert (ROOT / "reports/study/results.md").read_text().endswith(study.tables(summary))
    pictures = {name: (ROOT / f"reports/study/{name}.png").read_bytes() for name in ("effects", "curves", "plane")}
    assert (ROOT / "docs/report/study/index.html").read_text() == study.page(summary, pictures)


def test_without_the_baseline_there_is_nothing_to_rank() -> None:
    variants = {name: trials.VARIANTS[name] for name in ("dense", "wide")}
    summary = trials.summarised(variants=variants, claims={})
    assert study.changes_table(summary) is None
    assert study.answer(summary) == []
    assert study.page(summary, dict.fromkeys(("effects", "curves", "plane"), b""))


def test_tables_hold_every_contrast_and_variant(summary: dict[str, Any]) -> None:
    text = study.tables(summary)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    contrasts = sum(len(claim["contrasts"]) for claim in summary["claims"])
    changes = study.changes_table(summary)
    assert changes
    assert len(rows) == 4 * 2 + len(summary["claims"]) + contrasts + len(changes.rows) + len(summary["variants"])
    assert "| (moved less max) less (blurred less max) | random5, zero |" in text
    (secondary,) = (row for row in rows if "max less dense | consistency, circular" in row)
    assert "| secondary |" in secondary
    assert NOT_YET in text
    assert "| polyphase: exactly 100% | consistency, circular | = | +0.00 [+0.00, +0.00] |" in text
    assert re.search(r"\| wide (\| - ){5}\| \d+\.\d\d .* \| 14,458 \| 1,467,968 \|", text)  # measured on a canvas alone
    (dense,) = (row for row in rows if row.startswith("| dense |"))
    assert re.search(r"\| \d+\.\d\d \((\*\*)?s ±\d+\.\d\d", dense)


def test_verdicts_are_a_line_a_claim(summary: dict[str, Any]) -> None:
    text = study.verdicts(summary)
    assert all(f"| {claim['says']} | {claim['by']} | **{claim['verdict']}**" in text for claim in summary["claims"])
    assert "| **depends**: supported for a blur, contradicted for no convolution |" in text
    assert text.startswith(study.answer(summary)[0])


def test_page_needs_nothing_else_and_says_what_it_knows(summary: dict[str, Any]) -> None:
    pictures = {name: name.encode() for name in ("effects", "curves", "plane")}
    page = study.page(summary, pictures)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/png;base64,") == 3
    assert "Moving outweighs &lt;components&gt;." in page
    for claim in summary["claims"]:
        assert claim["verdict"] in page
    assert "depends</strong>: supported for a blur, contradicted for no convolution" in page
    assert "<td>secondary</td>" in page
    assert NOT_YET in page
    assert study.page(summary, pictures) == page


def test_published_metrics_stand_beside_ours_where_there_are_some(summary: dict[str, Any]) -> None:
    assert study.published_table(summary) is None  # the digits of scikit-learn are others
    table = study.published_table({**summary, "data": "mnist"})  # those of variants that this one lacks are left out
    assert table
    ((source, _, ours, _),) = table.rows
    assert source == "CS671, assignment 2"
    assert re.fullmatch(r"dense \d+\.\d\d% \(right4, zero\) and max \d+\.\d\d% \(right4, zero\)", ours)
    named = {name for entry in blocks.load_yaml("published.yaml")["variants"] for name, _, _ in entry["measured"]}
    conf = (SRC.parent / "conf/study/claims.yaml").read_text()
    assert all(re.search(rf"^  {name}:", conf, re.MULTILINE) for name in named)


@pytest.mark.parametrize(("p", "words"), [(1e-320, "p < 1e-300"), (0.0002, "p = 0.0002"), (0.5, "p = 0.500")])
def test_probabilities_are_written_as_in_the_report(p: float, words: str, summary: dict[str, Any]) -> None:
    summary = {**summary, "claims": [dict(claim) for claim in summary["claims"][:1]]}
    summary["claims"][0]["contrasts"] = [{**one, "p_holm": p} for one in summary["claims"][0]["contrasts"]]
    assert f"| {words} |" in study.tables(summary)
