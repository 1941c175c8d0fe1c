"""Images that can't be used: all counted, the first named, before anything long; see-through ones have a background."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from shiftlab.audits.images import load_images
from shiftlab.cli import app
from shiftlab.config.params import Background
from shiftlab.data import folder
from shiftlab.errors import UserError

SEEN = ["--channels", "grey", "--mean", "0", "--std", "1", "--radius", "2", "--shifts", "16", "--any-accuracy"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text("def build():\n    return lambda batch: batch.flatten(1)[:, :2]\n")


def pictures(mode: str, size: int = 12) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        Path("pictures", name).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (size, size, len(mode)), dtype=np.uint8).squeeze()
            Image.fromarray(pixels, mode).save(Path("pictures", name, f"{number:02}.png"))


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", "model.py:build", "--data", "pictures", *SEEN, *arguments])


def test_audit_of_a_folder_with_see_through_images() -> None:
    pictures("RGBA")
    result = audit()
    assert result.exit_code == 2
    assert result.stderr == (
        "error: 40 of 40 images can't be used; the first: pictures/cat/00.png has see-through pixels: give "
        "--background white or black, or save it on the background that is meant\n"
    )


@pytest.mark.usefixtures("undrawn")
def test_audit_with_a_background() -> None:
    pictures("RGBA")
    digests = set()
    for colour in ("white", "black"):
        result = audit("--background", colour, "--crop", "12", "--boundary", "zero", "--json", "--out", colour)
        assert result.exit_code == 0, result.stderr
        data = json.loads(result.stdout)["data"]
        assert data["background"] == colour
        digests.add(data["digest"])
    assert len(digests) == 2  # or audits on two backgrounds would be compared
    refused = audit("--background", "green")
    assert refused.exit_code == 2
    assert "--background is 'green': choose of white, black" in refused.stderr


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_background_is_mixed_by_the_share_that_shows(background: Background, value: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save("picture.png")
    alpha = pixels[..., 3:] / 255
    mixed = folder.read(Path("picture.png"), background=background)
    assert np.abs(mixed - (pixels[..., :3] * alpha + value * (1 - alpha))).max() <= 1
    Image.fromarray(pixels[..., :3], "RGB").save("picture.png")
    assert np.array_equal(folder.read(Path("picture.png"), background=background), pixels[..., :3])


def test_see_through_grey_images_stay_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 2), dtype=np.uint8)
    Image.fromarray(pixels, "LA").save("picture.png")
    assert folder.read(Path("picture.png"), background="white").shape == (9, 7, 1)


@pytest.mark.parametrize("labelled", [True, False])
def test_audit_of_a_folder_with_two_broken_images(labelled: bool) -> None:
    pictures("L")
    for broken in ("cat/11.png", "dog/03.png"):
        place = Path("pictures", broken)
        place.write_bytes(place.read_bytes()[:120])
    if not labelled:
        for number, place in enumerate(sorted(Path("pictures").rglob("*.png"))):
            place.rename(f"pictures/{number:02}.png")
        for name in ("cat", "dog"):
            Path("pictures", name).rmdir()
    result = audit("--crop", "12")
    assert result.exit_code == 2
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    first = "cat/11.png" if labelled else "11.png"
    assert error.startswith(
        f"error: 2 of 40 images can't be used; the first: pictures/{first} can't be read as an image"
    )
    assert not Path("audits").exists()


def test_audit_of_a_folder_with_images_too_small_for_the_crop() -> None:
    pictures("L")
    for small in ("cat/11.png", "dog/03.png", "dog/04.png"):
        Image.new("L", (9, 9)).save(Path("pictures", small))
    error = audit("--crop", "12").stderr.splitlines()[-1]
    assert error.startswith(
        "error: 3 of 40 images can't be used; the first: pictures/cat/11.png has 9x9 pixels, too few"
    )


def test_one_broken_image_is_named_alone() -> None:
    pictures("L")
    Path("pictures/cat/11.png").write_bytes(b"")
    error = audit("--crop", "12").stderr.splitlines()[-1]
    assert error.startswith("error: pictures/cat/11.png is not an image")


def test_no_image_outside_of_the_sample_is_read() -> None:
    pictures("L")
    drawn = load_images("pictures").sample(8, 0)
    files = {str(drawn.item(number)) for number in drawn.numbers.tolist()}
    for place in Path("pictures").rglob("*.png"):
        if str(place) not in files:
            place.write_bytes(b"")
    drawn.check(lambda place: drawn.read(place, folder.WHOLE))


def test_pipeline_of_a_folder_with_see_through_images() -> None:
    pictures("RGBA")
    with pytest.raises(
        UserError, match=r"^40 of 40 images .* pictures/cat/00.png .* set data.background to white or black"
    ):
        folder.load(Path("pictures"), None, None, None)
    assert folder.load(Path("pictures"), None, None, None, "white")[0].images.shape == (40, 3, 12, 12)
