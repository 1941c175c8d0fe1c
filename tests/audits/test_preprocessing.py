from typing import Any

import pytest
import torch
from torchvision.transforms import Compose, Normalize, ToTensor

from shiftlab.audits.preprocessing import Preprocessing, hints_of_inputs
from shiftlab.config.audit import AuditOptions, CommandOptions, PreprocessingHints, read
from shiftlab.errors import UserError

RAW = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
KNOWN = PreprocessingHints(frame=(4, 5), channels="rgb", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))


def replace(hints: PreprocessingHints, **otherwise: Any) -> PreprocessingHints:
    return hints.model_copy(update=otherwise)


def test_normalisation_is_exactly_torchvisions() -> None:
    transform = Compose([ToTensor(), Normalize((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))])
    expected = torch.stack([transform(image.permute(1, 2, 0).numpy()) for image in RAW])
    assert torch.equal(Preprocessing.of(KNOWN, None)(RAW), expected)


def test_raw_pixels_stay_as_they_are() -> None:
    raw = replace(KNOWN, white=255.0, mean=(0.0,), std=(1.0,))
    assert torch.equal(Preprocessing.of(raw, None)(RAW), RAW.float())
    assert torch.equal(Preprocessing.of(replace(raw, white=1.0), None)(RAW), RAW.float() / 255)
    assert torch.equal(Preprocessing.of(replace(raw, layout="nhwc"), None)(RAW), RAW.float().permute(0, 2, 3, 1))


def test_blue_comes_first_where_it_is_to() -> None:
    swapped = replace(KNOWN, channels="bgr", white=255.0, mean=(0.0,), std=(1.0,))
    assert torch.equal(Preprocessing.of(swapped, None)(RAW), RAW[:, [2, 1, 0]].float())


def test_mean_belongs_to_the_channels_as_the_model_has_them() -> None:
    """BGR's first mean is blue's, as in Caffe's models."""
    swapped = replace(KNOWN, channels="bgr", white=255.0, mean=(103.0, 116.0, 123.0), std=(1.0,))
    found = Preprocessing.of(swapped, None)(RAW)
    assert torch.equal(found[:, 0], RAW[:, 2].float() - 103)


def test_grey_without_an_axis_for_it() -> None:
    grey = Preprocessing.of(PreprocessingHints(layout="nhw", mean=(0.0,), std=(1.0,)), (1, 4, 5))
    assert grey.channels == "grey"
    assert grey(RAW[:, :1]).shape == (2, 4, 5)


def test_options_come_before_what_the_model_carries() -> None:
    over = PreprocessingHints(channels="bgr", mean=(0.5,)).merge(KNOWN)
    assert (over.channels, over.mean, over.std, over.frame) == ("bgr", (0.5,), (0.1, 0.2, 0.3), (4, 5))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (PreprocessingHints(), ["--crop", "--channels", "--mean", "--std"]),
        (replace(KNOWN, mean=None), ["--mean"]),
        (replace(KNOWN, frame=None, resize=256), ["--crop"]),
        (replace(KNOWN, mean=(0.5, 0.5)), ["mean has 2 values for 3 channels"]),
        (replace(KNOWN, std=(0.1, 0.0, 0.1)), ["has to be above 0"]),
    ],
)
def test_what_nobody_says_is_asked_for(known: PreprocessingHints, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Preprocessing.of(known, (3, 4, 5) if known.resize else None)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("channels", "rgba"), ("layout", "hwc"), ("interpolation", "lanczos")])
def test_unknown_choices_are_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{name} is '{value}': choose of"):
        read(PreprocessingHints, {name: value})


def test_it_says_what_it_does() -> None:
    words = str(Preprocessing.of(replace(KNOWN, resize=6), None))
    assert words == (
        "resized to 6 pixels along the shorter side (bilinear), the middle 5x4, red, green, blue, 0..255 as 0..1, less "
        "0.4/0.5/0.6, over 0.1/0.2/0.3, as NCHW"
    )


@pytest.mark.parametrize(
    ("sizes", "layout", "channels", "frame"),
    [
        ((28, 28), "nhw", "grey", (28, 28)),
        ((1, 28, 20), "nchw", "grey", (28, 20)),
        ((28, 20, 3), "nhwc", None, (28, 20)),
        ((3, -1, None), "nchw", None, None),
        ((3, 28, 3), None, None, None),
        ((784,), None, None, None),
    ],
)
def test_shape_of_an_input_tells_what_it_can(
    sizes: tuple[int | None, ...], layout: str | None, channels: str | None, frame: tuple[int, int] | None
) -> None:
    hints = hints_of_inputs(sizes)
    assert (hints.layout, hints.channels, hints.frame) == (layout, channels, frame)


def test_options_are_the_same_typed_and_in_python() -> None:
    place = {"model": "m", "data": "d"}
    text = {"mean": "0.5,0.4,0.3", "std": "1", "frame": "20x30", "count": "50", "shifts": "all", "boundaries": ["crop"]}
    typed = read(CommandOptions, {**place, **text}, typed=True)
    python = read(
        AuditOptions,
        {"mean": [0.5, 0.4, 0.3], "std": 1, "frame": [20, 30], "count": 50, "shifts": "all", "boundaries": ("crop",)},
    )
    assert typed.recorded() == python.recorded()
    assert AuditOptions.model_validate(python.recorded()) == python  # metrics.json can be read back
