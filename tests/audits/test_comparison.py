import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import shiftlab
from shiftlab.audits.audit import Audit
from shiftlab.errors import UserError
from shiftlab.reports import primitives
from tests.audits.models import Plain, data

TEST = data().test
IMAGES, LABELS = TEST.images.numpy(), TEST.labels.numpy()
ASKED: dict[str, Any] = {"count": 60, "radius": 4, "shifts": 20, "mean": [0.1307], "std": [0.3081]}


class Halved(nn.Module):
    """Sees every second row alone, so that it errs more often."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain()

    def forward(self, images: Any) -> Any:
        images = images.clone()
        images[:, :, ::2] = images.amin()
        return self.plain(images)


def audited(model: nn.Module, name: str, **otherwise: Any) -> Audit:
    return shiftlab.audit(model, IMAGES, LABELS, name=name, any_accuracy=True, **{**ASKED, **otherwise})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("audits")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(primitives, "_png", lambda *_: b"")  # drawing takes most of the time, and plays no part
        for name, model in (("plain", Plain()), ("halved", Halved())):
            audited(model, name).save(root / name)
    return {name: root / name for name in ("plain", "halved")}


def test_saved_audits_are_compared_as_those_at_hand(folders: dict[str, Path], tmp_path: Path) -> None:
    saved = shiftlab.compare(*folders.values())
    at_hand = shiftlab.compare(audited(Plain(), "plain"), audited(Halved(), "halved"))
    assert saved.summary() == at_hand.summary()
    page = saved.save(tmp_path)
    assert "plain and halved" in page.read_text()
    summary = json.loads((tmp_path / "comparison.json").read_text())
    metrics = {name: one["zero"] for name, one in summary["metrics"].items()}
    for one in summary["differences"]["zero"]:
        by = metrics["plain"][one["metric"]]["value"] - metrics["halved"][one["metric"]]["value"]
        assert one["difference"] == pytest.approx(by, abs=1e-9)
        assert 0 < one["p_holm"] <= 1
        if one["low"] is not None:
            assert one["low"] <= one["difference"] <= one["high"]
    assert "plain less halved: accuracy, unshifted" in repr(saved)


def test_an_audit_does_not_differ_from_itself(folders: dict[str, Path]) -> None:
    twice = shiftlab.compare(folders["plain"], folders["plain"])
    assert list(twice.summaries) == ["plain", "plain (plain)"]
    assert {one["difference"] for one in twice.differences["zero"]} == {0.0}
    assert {one["p_holm"] for one in twice.differences["zero"]} == {1.0}


@pytest.mark.parametrize(
    ("otherwise", "words"),
    [
        ({"count": 50}, "the images differ"),
        ({"radius": 2}, "the radius differ, 4 and 2"),
        ({"shifts": 30}, "the number of shifts differ, 60 and 64"),
        ({"boundaries": ["zero"]}, "the boundaries differ"),
    ],
)
def test_audits_that_were_not_asked_alike_are_refused(
    otherwise: dict[str, Any], words: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=words):
        shiftlab.compare(folders["plain"], audited(Plain(), "other", **otherwise))


def test_as_many_other_shifts_are_refused() -> None:
    """Twenty that were drawn and twenty-one are 60 different ones with the anchors."""
    with pytest.raises(UserError, match="other shifts were drawn"):
        shiftlab.compare(audited(Plain(), "plain"), audited(Plain(), "other", shifts=21))


def test_what_is_no_audit_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two audits at least"):
        shiftlab.compare(folders["plain"])
    with pytest.raises(UserError, match="holds no audit"):
        shiftlab.compare(folders["plain"], tmp_path)
    (tmp_path / "figures.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds figures\.json, which an earlier version of shiftlab wrote: audit"):
        shiftlab.compare(folders["plain"], tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="is not an audit's"):
        shiftlab.compare(folders["plain"], tmp_path)
    unlabelled = shiftlab.audit(Plain(), IMAGES, **ASKED)
    with pytest.raises(UserError, match="images"):
        shiftlab.compare(unlabelled, audited(Plain(), "plain"))
    assert np.isfinite(unlabelled.consistency.value)
