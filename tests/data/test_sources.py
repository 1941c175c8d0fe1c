"""The registry of sources, and one more source in a copy of it, on the way to a saved data set."""

from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from shiftlab.config.params import Data
from shiftlab.data import sources
from shiftlab.data.prepare import build_dataset
from shiftlab.errors import UserError
from tests.helpers import PARAMETERS, ROOT


@pytest.mark.parametrize("name", sources.names())
def test_source_has_settings_that_name_its_file(name: str) -> None:
    settings = [YAML(typ="safe").load(path) for path in (ROOT / "conf/data").glob(f"{name}.yaml")]
    (path,) = (one.get("data", one)["path"] for one in settings)
    assert name == "folder" or path == f"src/shiftlab/data/sources/{name}.py"


def test_attributes_are_those_of_the_images() -> None:
    source = sources.get("digits")
    train, test, classes = source.load(Data.model_construct())
    assert (len(train), len(test)) == source.images
    assert train.images.shape[1:] == (source.channels, *(source.image_size or ()))
    assert classes == source.classes


def test_images_that_are_not_as_their_source_says_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = sources.get("digits")
    monkeypatch.setattr(sources, "get", lambda _: replace(digits, image_size=(28, 30)))
    with pytest.raises(UserError, match=r"have the shape \(1, 28, 28\), not \(1, 28, 30\)"):
        build_dataset(Data.model_validate(PARAMETERS["data"]))
