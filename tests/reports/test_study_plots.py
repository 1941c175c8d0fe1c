import pytest

from shiftlab.reports import study_plots
from tests.study import trials

NAMES = {"effects", "curves", "plane"}


def test_pictures_are_there_and_the_same_again() -> None:
    summary = trials.summarised()
    pictures = study_plots.of_study(summary)
    assert set(pictures) == NAMES
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert study_plots.of_study(summary) == pictures


@pytest.mark.parametrize("names", [["max", "dense", "polyphase"], ["max"], ["wide"]])
def test_pictures_of_few_variants(names: list[str]) -> None:
    """Of which none, or one alone, or none on images as they are."""
    variants = {name: trials.VARIANTS[name] for name in names}
    assert set(study_plots.of_study(trials.summarised(variants=variants, claims={}))) == NAMES
