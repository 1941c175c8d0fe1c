"""Names of classes: matched, drawn as they are, or refused at once."""

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import shiftlab
from shiftlab import files
from shiftlab.cli import app
from shiftlab.data import folder
from shiftlab.data.dataset import class_names
from shiftlab.errors import UserError
from shiftlab.reports import primitives
from tests.data.test_folder import noise

NAMES = [
    *(
        "US$ & $x",
        "_background_",
        "C#",
        "#1",
        "a_b^{c",
        r"\frac{1}{2}",
        "$$",
        "café",
        "<b>bold</b>",
        "x|y `z` **q**",
        "a,b",
    ),
    *("motor scooter, red and long", "motor scooter, old and long", "supercalifragilisticexpialidocious"),
    *("猫", "شمس", "हिन्दी", "Ελλάδα", "кошка", "🦊", "0", "{{ name }}", "100%"),
]


def test_pictures_draw_every_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that the font lacks
        confusion = np.eye(len(NAMES), dtype=np.int64)
        drawn = primitives.confusions({"model": {"clean": confusion}}, NAMES, "US$ and $x")
        lines = {label: primitives.Line([0, 1], [0, 1], [0, 1], [0, 1]) for label in primitives.class_labels(NAMES)}
        primitives.panels([[primitives.Panel(lines, "$x_", "_{")]], "$\\frac$")
    assert drawn.startswith(b"\x89PNG")


def test_names_are_drawn_as_they_are_where_they_can_be() -> None:
    labels = primitives.class_labels(NAMES)
    by_name = dict(zip(NAMES, labels, strict=True))
    assert len(set(labels)) == len(NAMES)
    for name in ("US$ & $x", "C#", "a_b^{c", "$$", "café", "<b>bold</b>", "Ελλάδα", "кошка", "100%"):
        assert by_name[name] == name
    assert by_name["_background_"] == " _background_"  # or the legend would leave it out
    assert by_name["supercalifragilisticexpialidocious"] == "superca…ocious"
    for name in ("猫", "شمس", "हिन्दी", "motor scooter, red and long", "motor scooter, old and long"):
        assert by_name[name] == f"class {NAMES.index(name)}"


def test_every_random_name_is_drawn_or_numbered() -> None:
    rng = np.random.default_rng(0)
    letters = [chr(code) for code in range(32, 0x3000) if unicodedata.category(chr(code)) not in ("Cc", "Cs", "Cn")]
    names = list({"".join(rng.choice(letters, rng.integers(1, 30))) for _ in range(60)})
    labels = primitives.class_labels(names)
    assert len(set(labels)) == len(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first in range(0, len(labels), 20):
            few = labels[first : first + 20]
            lines = {label: primitives.Line([0, 1], [0, 1], [0, 1], [0, 1]) for label in few}
            primitives.panels([[primitives.Panel(lines, "", "")]], "")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("C#\nC++\n#1\n", ["C#", "C++", "#1"]),
        ("\ufeffcat\r\ndog\r\n", ["cat", "dog"]),
        ("cat dog\n\n  fox  \n", ["cat dog", "fox"]),
    ],
)
def test_classes_file(content: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content.encode())
    assert files.lines(tmp_path / "names.txt", "a name", comments=False) == names


def test_thresholds_file_has_comments(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\ufeff# ours\nclean=0.5 # easy\n  # theirs\ngrid=0.1\n")
    assert files.lines(tmp_path / "t.txt", "METRIC=SHARE") == ["clean=0.5", "grid=0.1"]


def test_classes_file_in_utf16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("cat\ndog\n".encode("utf-16"))
    with pytest.raises(UserError, match="a text file in UTF-8"):
        files.lines(tmp_path / "names.txt", "a name", comments=False)


def test_decomposed_accents_of_folders_match_composed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cafe\u0301", "the\u0301"):  # as macOS writes them
        Path("pictures", name).mkdir(parents=True)
        noise().save(Path("pictures", name, "1.png"))
    assert folder.listing(Path("pictures"))[2] == ("caf\u00e9", "th\u00e9")
    assert class_names(["caf\u00e9"]) == class_names(["cafe\u0301"])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["caf\udce9", "tea"], "can't be printed"),
        (["a\nb", "c"], "can't be printed"),
        (["", "c"], "can't be printed"),
        (["caf\u00e9", "cafe\u0301"], "two classes are called 'café'"),
        (["cat", "cat "], "two classes are called 'cat'"),
    ],
)
def test_names_that_no_report_can_tell_are_refused_before_the_long_part(names: list[str], words: str) -> None:
    passes: list[int] = []
    with pytest.raises(UserError, match=words) as caught:
        shiftlab.audit(
            lambda batch: batch.flatten(1)[:, :2],
            np.zeros((20, 8, 8), np.uint8),
            [0, 1] * 10,
            classes=names,
            mean=0,
            std=1,
            radius=2,
            on_progress=passes.append,
        )
    assert "\n" not in str(caught.value)
    assert not passes


def test_audit_of_a_class_whose_folder_is_not_in_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (b"caf\xe9", b"tea"):
        place = os.path.join(b"pictures", name)  # noqa: PTH118  # of bytes
        os.makedirs(place)  # noqa: PTH103
        noise().save(Path(os.fsdecode(place), "1.png"))
    result = CliRunner().invoke(app, ["audit", "m.py:build", "--data", "pictures"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: the class name 'caf\\udce9' can't be printed: rename the class, in UTF-8 and on one line\n"
    )


@pytest.mark.parametrize(
    ("data", "names", "unknown"),
    [
        ("digits", "zero one two three four five six seven eight nine", "0"),
        ("pictures", "zero one two three four five six seven eight nine ten", "0"),  # folders in the order 0, 1, 10, 2
    ],
)
def test_classes_with_names_that_the_images_classes_do_not_have(
    data: str, names: str, unknown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text(names.replace(" ", "\n"))
    outputs = len(names.split())
    Path("model.py").write_text(f"def build():\n    return lambda batch: batch.flatten(1)[:, :{outputs}]\n")
    for number in range(11):
        Path("pictures", str(number)).mkdir(parents=True)
        noise(8).save(Path("pictures", str(number), "1.png"))
    command = ["audit", "model.py:build", "--data", data, "--classes", "names.txt", "--mean", "0", "--std", "1"]
    result = CliRunner().invoke(app, [*command, "--channels", "grey", "--crop", "8", "--radius", "2"])
    assert result.exit_code == 2
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert error.startswith(f"error: the class {unknown!r} of {data} is not among the outputs of model.py:build (")
    assert not Path("audits").exists()
