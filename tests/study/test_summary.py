import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shiftlab.config import params
from shiftlab.repository import compose
from shiftlab.study import summary
from tests.helpers import ROOT
from tests.study import trials


def test_metrics_are_means_over_seeds_with_both_intervals() -> None:
    found = {one["variant"]: one for one in trials.summarised()["variants"]}
    given = trials.trials("blurred", trials.study().full_variants["blurred"], trials.study())
    values = [summary.measure(given.predictions[seed, "zero"])["random5"] for seed in (0, 1, 2)]
    one = found["blurred"]["metrics"]["zero"]["random5"]
    assert one["values"] == [estimate.value for estimate in values]
    assert one["mean"] == pytest.approx(np.mean(one["values"]))
    assert one["low"] < one["mean"] < one["high"]
    assert one["images"] == pytest.approx(np.mean([(estimate.high - estimate.low) / 2 for estimate in values]))


def test_a_canvas_has_a_boundary_of_its_own() -> None:
    found = {one["variant"]: one for one in trials.summarised()["variants"]}
    assert set(found["wide"]["metrics"]) == {"canvas"}
    assert set(found["max"]["metrics"]) == {"zero", "circular"}


def test_everything_is_json_without_nan() -> None:
    summarised = trials.summarised()
    assert json.loads(json.dumps(summarised, allow_nan=False)) == summarised
    polyphase = next(one for one in summarised["variants"] if one["variant"] == "polyphase")
    # Never wrong, so that nothing of its consistency can be told from chance.
    assert polyphase["metrics"]["circular"]["corrected_consistency"]["mean"] is None


def test_verdicts() -> None:
    found = {claim["claim"]: claim for claim in trials.summarised()["claims"]}
    verdicts = {key: claim["verdict"] for key, claim in found.items()}
    assert verdicts == {
        "convolution": "supported",
        "blur": "contradicted",
        "polyphase": "supported",
        "same": "no effect worth a point",
        "both": "depends",
        "augmentation": "undecided",
    }
    assert found["augmentation"]["contrasts"][0]["larger_than"] == ["blurred", "max"]


def test_claims_can_be_decided_again_from_the_numbers_alone() -> None:
    summarised = trials.summarised()
    on_disk = json.loads(json.dumps({**summarised, "claims": []}))
    assert summary.decide_again(trials.study(), on_disk) == summarised


def test_the_committed_verdicts_follow_from_the_committed_numbers(tmp_path: Path) -> None:
    """With the claims of conf/ and the rule as they are now: after a change of either, `scripts/redecide.py`."""
    committed = json.loads((ROOT / "metrics/study.json").read_text())
    compose(["study=claims"], tmp_path / "params.yaml")
    study = params.load(tmp_path / "params.yaml").study
    claims = summary.decide_again(study, committed)["claims"]
    assert [one["verdict"] for one in claims] == [one["verdict"] for one in committed["claims"]]
    for one, other in zip(flat(claims), flat(committed["claims"]), strict=True):
        assert one == pytest.approx(other)  # another processor may round otherwise


def flat(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All contrasts, with the claim and without lists."""
    return [
        {**{key: claim[key] for key in ("claim", "says", "by")}, **one, "larger_than": str(one["larger_than"])}
        for claim in claims
        for one in claim["contrasts"]
    ]


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    summarised = trials.summarised(seeds=[4], claims={})
    one = summarised["variants"][0]["metrics"]["zero"]["clean"]
    assert one["low"] is None
    assert summarised["claims"] == []
