from shiftlab.show import pictures
from tests.helpers import examples
from tests.measure.test_comparison import answers, found


def test_every_figure_has_a_picture_and_images_stay_as_they_are() -> None:
    images = examples(4).images
    drawn = pictures.of_comparison(answers(), found(), images)
    kinds = ("accuracy", "maps", "sensitivity", "radius", "classes", "phase", "fractions", "confusion")
    expected = {f"{regime}-{kind}" for regime in ("zero", "circular") for kind in kinds}
    expected |= {f"{regime}-gallery-{model}" for regime in ("zero", "circular") for model in ("mlp", "lenet")}
    assert set(drawn) == expected | {"image-0"}
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    assert images.equal(examples(4).images)
