"""The registry of sources, and one more source in a copy of it, on the way to a saved data set."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dvc.utils.hydra import compose_and_dump
from ruamel.yaml import YAML

from shiftlab.config.params import Data
from shiftlab.data import sources
from shiftlab.data.prepare import build_dataset
from shiftlab.errors import UserError
from tests.helpers import PARAMETERS, ROOT, SRC, run_python


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


STRIPES = '''"""Red, green and blue stripes."""

from shiftlab.data.sources import Source

CLASSES = ("red", "green", "blue")


def load(data):
    import torch

    from shiftlab.data.dataset import Examples, split

    labels = torch.arange(90) % 3
    images = torch.zeros(90, 3, 20, 31, dtype=torch.uint8)
    images[torch.arange(90), labels, :, 10:14] = 255
    return *split(Examples(images, labels), 30, 0, "the test set"), CLASSES


SOURCE = Source("Stripes", load, image_size=(20, 31), channels=3, classes=CLASSES, images=(60, 30))
'''

SETTINGS = """
defaults: [mnist, _self_]
name: stripes
source: stripes
path: src/shiftlab/data/sources/stripes.py
validation: 9
frame: [18, 24]
"""


def test_images_that_are_not_as_their_source_says_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = sources.get("digits")
    monkeypatch.setattr(sources, "get", lambda _: replace(digits, image_size=(28, 30)))
    with pytest.raises(UserError, match=r"have the shape \(1, 28, 28\), not \(1, 28, 30\)"):
        build_dataset(Data.model_validate(PARAMETERS["data"]))


def test_source_is_added_by_two_files(tmp_path: Path) -> None:
    package = tmp_path / "src"
    shutil.copytree(SRC, package)
    (package / "shiftlab/data/sources/stripes.py").write_text(STRIPES)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/data/stripes.yaml").write_text(SETTINGS)
    choices = ["data=stripes", "evaluation.radius=4"]
    compose_and_dump(tmp_path / "params.yaml", str(tmp_path / "conf"), None, "config", "", choices)
    code = (
        "import runpy; runpy.run_path('src/download.py', run_name='__main__'); "
        "from shiftlab.config import params; from shiftlab.pipeline import durations; "
        "from shiftlab.reports.columns import data_name; "
        "print(durations.images(params.load()), data_name('stripes_small'))"
    )
    done = run_python("-c", code, cwd=tmp_path, package=package)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "stripes: 51 training, 9 validation, 30 test images, 24x18 pixels in colour, 3 classes (red, green, blue)\n"
        "(51, 30) Stripes (small)\n"
    )
    assert (tmp_path / "data/stripes/dataset.safetensors").is_file()
