"""A folder of results is replaced as a whole, or stays as a whole."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import shiftlab
from shiftlab import Audit, files
from shiftlab.audits import template
from shiftlab.audits.comparison import compare
from shiftlab.reports import plots

LIMITS = [0, 1000, 5000, 15_000, 30_000, 10_000_000]  # bytes of a file


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Audit, "_plots", lambda _: {})
    monkeypatch.setattr(plots, "of_models", lambda _: {})


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow larger, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def audited(seed: int, boundaries: list[str]) -> Audit:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(64, 3))).float()
    images = rng.integers(0, 255, (40, 8, 8))
    options: dict[str, Any] = {"mean": 0, "std": 1, "radius": 2, "shifts": 16, "any_accuracy": True}
    return shiftlab.audit(
        lambda batch: batch.flatten(1) @ weights, images, rng.integers(0, 3, 40), boundaries=boundaries, **options
    )


def save_under_every_limit(save: Callable[[Path], object], earlier: Callable[[Path], object], folder: Path) -> None:
    """Save over an earlier result while no file may be larger than each limit."""
    save(folder / "new")
    ends = set()
    for limit in LIMITS:
        place = folder / f"{limit}"
        earlier(place)
        before = contents(place)
        with suppress(OSError), files_of_at_most(limit):
            save(place)
        after = contents(place)
        assert after in (before, contents(folder / "new"))
        ends.add(after == before)
    assert ends == {True, False}


def test_audit_over_an_earlier_one_on_a_full_disk(tmp_path: Path) -> None:
    earlier, later = audited(1, ["zero", "circular"]), audited(2, ["zero"])
    save_under_every_limit(later.save, earlier.save, tmp_path)


def test_audit_of_fewer_boundaries_over_an_earlier_one(tmp_path: Path) -> None:
    audited(1, ["zero", "circular"]).save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    audited(2, ["circular"]).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "circular",
        "metrics.json",
        "notes.txt",
        "predictions",
        "report.html",
    ]
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["circular.safetensors"]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert compare(tmp_path, audited(2, ["circular"])).differences["circular"][0]["difference"] == 0


def test_out_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        audited(seed, ["zero"]).save(".")
    assert len(list(tmp_path.iterdir())) == 4


def test_compare_out_on_a_full_disk(tmp_path: Path) -> None:
    first, second, third = (audited(seed, ["zero"]) for seed in (1, 2, 3))
    save_under_every_limit(compare(first, second).save, compare(first, third).save, tmp_path)


def test_init_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with files_of_at_most(200), pytest.raises(OSError, match="File too large"):
        template.write(tmp_path / "project")
    assert contents(tmp_path) == {}
    template.write(tmp_path / "project")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_audit_into_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("earlier")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught, files.replacing(tmp_path, ["metrics.json"]):
        pass
    assert caught.value.filename == str(tmp_path)
    tmp_path.chmod(0o700)
    assert contents(tmp_path) == {"metrics.json": b"earlier"}


def test_a_power_cut_leaves_no_mixture_that_passes_for_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, renames = Path.rename, 0

    def cut(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames > last:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut)
    for last in range(5):
        folder, renames = tmp_path / f"{last}", 0
        for name in ("metrics", "answers"):
            files.write(folder / name, "old")
        with suppress(KeyboardInterrupt), files.replacing(folder, ["metrics", "answers"]) as new:
            for name in ("metrics", "answers"):
                files.write(new / name, "new")
        left = contents(folder)
        assert "metrics" not in left or len(set(left.values())) == 1
