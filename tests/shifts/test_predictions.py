from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from shiftlab.errors import UserError
from shiftlab.shifts import predictions
from shiftlab.shifts.grids import line
from tests.helpers import ABOUT, some_predictions


def test_predictions_come_back_as_they_were_saved(tmp_path: Path) -> None:
    saved = some_predictions()
    predictions.save(saved, tmp_path / "deep" / "p.safetensors")
    loaded = predictions.load(tmp_path / "deep" / "p.safetensors")
    assert loaded.metadata == ABOUT
    assert list(loaded.sets) == ["right5", "clean"]
    for key in ("labels", "line_shifts", "on_lines", "fractions", "on_fractions"):
        np.testing.assert_array_equal(getattr(loaded, key), getattr(saved, key), strict=True)
    for key, array in vars(saved.grid).items():
        np.testing.assert_array_equal(getattr(loaded.grid, key), array, strict=True)
    for name, answers in saved.sets.items():
        for key, array in vars(answers).items():
            np.testing.assert_array_equal(getattr(loaded.sets[name], key), array, strict=True)


def test_same_predictions_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        predictions.save(some_predictions(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_each_model_seed_and_boundary_has_a_file_of_its_own() -> None:
    assert predictions.path("mlp", 3, "zero") == Path("predictions/mlp/3/zero.safetensors")


@pytest.mark.parametrize(("direction", "rows"), [("x", [1, 3, 5]), ("y", [2, 3, 4]), ("diagonal", [0, 3, 6])])
def test_along_a_line_the_answers_are_in_its_order(direction: str, rows: list[int]) -> None:
    answers = some_predictions().along(line(direction, 1))
    assert answers[:, 0].tolist() == rows
    backwards = some_predictions().along(line(direction, 1)[::-1])
    assert backwards[:, 0].tolist() == rows[::-1]


def test_shift_that_was_not_computed_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        some_predictions().along(line("x", 2))


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at .*gone.*dvc repro"):
        predictions.load(tmp_path / "gone")


def test_file_that_holds_no_predictions_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    predictions.save(some_predictions(), path)
    whole = path.read_bytes()
    bare = safetensors.numpy.save({"labels": np.zeros(3)})
    others = [safetensors.numpy.save({"labels": np.zeros(3)}, {"about": metadata}) for metadata in ("{", "[]", "{}")]
    no_sets = safetensors.numpy.save({"labels": np.zeros(3)}, {"about": '{"sets": []}'})
    for content in (b"", b"not predictions", whole[:100], whole[:-1], bare, *others, no_sets):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            predictions.load(path)
        assert f"{path} does not hold predictions" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_folder_is_no_predictions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold predictions"):
        predictions.load(tmp_path)


def test_only_leftovers_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [predictions.path(model, seed, "zero") for model, seed in (("mlp", 0), ("mlp", 1), ("lenet", 0))]
    for path in [*paths, predictions.path("mlp", 0, "circular")]:
        predictions.save(some_predictions(), path)
    (tmp_path / "predictions" / "README.md").touch()

    def left() -> list[str]:
        return sorted(str(path.relative_to("predictions")) for path in Path("predictions").rglob("*.*"))

    predictions.prune_files([paths[1]], Path("predictions/mlp/1"))
    assert len(left()) == 5
    predictions.prune_files([paths[0], paths[2], predictions.path("resnet", 0, "zero")], Path("predictions"))
    assert left() == ["README.md", "lenet/0/zero.safetensors", "mlp/0/zero.safetensors"]


def test_nothing_to_delete_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    predictions.prune_files([predictions.path("mlp", 0, "zero")], Path("predictions"))
