from pathlib import Path

import numpy as np

from shiftlab.shifts.store import Arrays, Store


def test_parts_come_back_until_they_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "work")
    assert store.load("1") is None
    arrays: Arrays = {
        "predicted": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "confidence": np.ones(2, dtype=np.float16),
    }
    store.save("1", arrays)
    loaded = Store(tmp_path / "work").load("1")
    assert loaded is not None
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)
    assert Store(tmp_path / "other").load("1") is None
    store.remove()
    assert store.load("1") is None
    assert not list(tmp_path.iterdir())


def test_damaged_part_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save("0", {"predicted": np.zeros(3)})
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert store.load("0") is None
