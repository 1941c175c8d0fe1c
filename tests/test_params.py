import copy
import math
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import compose_and_dump
from pydantic import ValidationError
from ruamel.yaml import YAML

from shiftlab.config import params
from shiftlab.data import sources
from shiftlab.errors import UserError
from shiftlab.models import architectures
from tests.helpers import PARAMETERS, ROOT


def write(folder: Path, values: object) -> Path:
    path = folder / "params.yaml"
    YAML(typ="safe").dump(values, path)
    return path


def changed(name: str, value: object) -> dict[str, Any]:
    values = copy.deepcopy(PARAMETERS)
    *parents, key = name.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    place[key] = value
    return values


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        params.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_values_arrive_typed(tmp_path: Path) -> None:
    loaded = params.load(write(tmp_path, PARAMETERS))
    assert loaded.model_dump() == PARAMETERS
    assert loaded.models["mlp"] == params.Training(lr=0.001, batch_size=64, epochs=10)


def compose(folder: Path, *overrides: str) -> params.Params:
    compose_and_dump(folder / "params.yaml", str(ROOT / "conf"), None, "config", "", list(overrides))
    return params.load(folder / "params.yaml")


def test_conf_composes_valid_parameters(tmp_path: Path) -> None:
    assert compose(tmp_path).seeds
    assert compose(tmp_path, "data=digits").data.name == "digits"


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "conf/data").iterdir()])
def test_conf_offers_every_data_set_under_its_own_name(name: str, tmp_path: Path) -> None:
    chosen = compose(tmp_path, f"data={name}").data
    assert chosen.name == name
    expected = (48, 48) if "canvas" in name else sources.get(chosen.source).image_size
    assert chosen.input_size == chosen.image_size == expected
    assert chosen.placement == ("random" if "random" in name else "centred")


def test_conf_offers_the_evaluation_of_all_images(tmp_path: Path) -> None:
    assert compose(tmp_path).evaluation.images != "all"
    assert YAML(typ="safe").load(ROOT / "conf/evaluation/full.yaml")["images"] == "all"
    compose(tmp_path, "evaluation=full")
    assert compose(tmp_path, "data=digits", "evaluation.images=all").evaluation.images == "all"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("name", "mnist", "begins with it"),
        ("name", "digitsx", "begins with it"),
        ("placement", "random", "room on a canvas alone"),
        ("channels", 1, "channels is for a folder"),
        ("resize", 32, "resize is for a folder"),
        ("crop", [28, 28], "crop is for a folder"),
        ("background", "white", "background is for a folder"),
        ("frame", [20, 29], "larger than the images"),
        ("path", "src/shiftlab/data/digits.py", "gets the images of digits is src/shiftlab/data/sources/digits.py"),
    ],
)
def test_data_that_contradicts_itself_is_refused(name: str, value: object, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(write(tmp_path, changed(f"data.{name}", value)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"canvas": 48}, "canvas is for the small images"),
        ({"test": None}, "a folder has no test images of its own"),
        ({"path": "~/pictures"}, "write the folder's whole path"),
        ({"crop": [20, 30], "frame": [24, 24]}, "larger than the images"),
    ],
)
def test_folder_that_contradicts_itself_is_refused(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    folder = {"name": "folder_birds", "source": "folder", "path": "birds", "test": 0.2}
    values = {**PARAMETERS, "data": {**PARAMETERS["data"], **folder}}
    assert params.load(write(tmp_path, values)).data.image_size is None
    values["data"] |= change
    assert reason in refusal(write(tmp_path, values))


@pytest.mark.parametrize(
    ("frame", "radius", "reason"),
    [
        (None, 2, "set data.frame"),
        ([20, 20], 10, "28x28 have 4 around a frame of 20x20"),
        ([16, 18], 5, None),
        ([19, 18], 2, "the named sets reach 5 pixels"),
    ],
)
def test_crop_needs_a_margin(frame: list[int] | None, radius: int, reason: str | None, tmp_path: Path) -> None:
    values = copy.deepcopy(PARAMETERS)
    values["evaluation"] |= {"boundaries": ["crop"], "radius": radius, "phase": 1}
    values["data"]["frame"] = frame
    if reason:
        assert reason in refusal(write(tmp_path, values))
    else:
        assert params.load(write(tmp_path, values)).data.input_size == (16, 18)


def test_radius_may_be_larger_on_a_canvas(tmp_path: Path) -> None:
    values = changed("data.canvas", 48)
    values["evaluation"]["radius"] = 47
    assert params.load(write(tmp_path, values)).evaluation.radius == 47
    values["evaluation"]["radius"] = 48
    assert "48x48" in refusal(write(tmp_path, values))


def test_conf_offers_every_model_alone_and_all_together(tmp_path: Path) -> None:
    for choice in architectures.names():
        assert list(compose(tmp_path, f"model={choice}").models) == [choice]
    everything = YAML(typ="safe").load(ROOT / "conf/model/all.yaml")["defaults"]
    assert [*compose(tmp_path, "model=all").models, "_self_"] == everything


@pytest.mark.parametrize("model", ["all", "lenet"])
def test_recipe_brings_each_chosen_models_own_settings(tmp_path: Path, model: str) -> None:
    slow, fast = (compose(tmp_path, f"model={model}", f"recipe={recipe}") for recipe in ("notebook", "fast"))
    assert (slow.recipe, fast.recipe) == ("notebook", "fast")
    assert list(fast.models) == list(slow.models)
    without_own = [name for name, settings in slow.models.items() if settings.recipe is None]
    assert without_own
    assert all(fast.models[name].epochs < slow.models[name].epochs for name in without_own)
    assert compose(tmp_path, "recipe=fast", "models.lenet.lr=0.5").models["lenet"].lr == 0.5


def test_parameters_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    loaded = params.load(write(tmp_path, PARAMETERS))
    with pytest.raises(ValidationError):
        loaded.models["mlp"].lr = 0.1


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0E-3"])
def test_every_way_to_write_a_number_is_a_number(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, PARAMETERS)
    path.write_text(path.read_text().replace("0.001", text))
    assert params.load(path).models["mlp"].lr == 0.001


def test_whole_learning_rate_is_a_number(tmp_path: Path) -> None:
    assert params.load(write(tmp_path, changed("models.mlp.lr", 1))).models["mlp"].lr == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 3),
        ("data.nmae", "digits"),
        ("models.mlp.momentum", 0.9),
        ("evaluation.radii", [1]),
        ("data.source", "cifar"),
        ("data.source", None),
        ("data.canvas", 27),
        ("data.canvas", 26),
        ("data.canvas", 47),
        ("data.canvas", 256),
        ("data.canvas", "48"),
        ("data.path", None),
        ("data.test", 0),
        ("data.test", 1.0),
        ("data.channels", 2),
        ("data.resize", 0),
        ("data.crop", [28]),
        ("data.frame", [28, 0]),
        ("data.frame", "28x28"),
        ("data.placement", "left"),
        ("data.name", None),
        ("data.mirrors", "http://127.0.0.1"),
        ("data.mirrors", [1]),
        ("data.validation", 0),
        ("data.validation", 1.0),
        ("data.validation", -0.1),
        ("threads", 0),
        ("threads", "all"),
        ("threads", True),
        ("data.split_seed", -1),
        ("recipe", "cookbook"),
        ("device", "gpu"),
        ("device", 0),
        ("models", {}),
        ("models", ["mlp"]),
        ("models.vgg", {"lr": 0.001, "batch_size": 64, "epochs": 10}),
        ("models.mlp", None),
        ("models.mlp.lr", "0.001"),
        ("models.mlp.lr", True),
        ("models.mlp.lr", -0.001),
        ("models.mlp.lr", 0),
        ("models.mlp.lr", math.nan),
        ("models.mlp.lr", math.inf),
        ("models.mlp.batch_size", 0),
        ("models.mlp.batch_size", "64"),
        ("models.mlp.epochs", 0),
        ("models.mlp.epochs", 10.0),
        ("models.mlp.epochs", True),
        ("seeds", []),
        ("seeds", 0),
        ("seeds", [1, 2, 1]),
        ("seeds.0", -1),
        ("seeds.1", 2**32),
        ("seeds.0", "0"),
        ("evaluation.radius", 0),
        ("evaluation.radius", 28),
        ("evaluation.radius", True),
        ("evaluation.boundaries", []),
        ("evaluation.boundaries", ["zero", "zero"]),
        ("evaluation.boundaries", ["torus"]),
        ("evaluation.boundaries", "zero"),
        ("evaluation.images", 0),
        ("evaluation.images", "some"),
        ("evaluation.images", 0.1),
        ("evaluation.shifts", 15),
        ("evaluation.shifts", "some"),
        ("evaluation.phase", 0),
        ("evaluation.phase", 15),
        ("evaluation.seed", None),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: object, tmp_path: Path) -> None:
    if name.startswith("seeds."):
        seeds = list(PARAMETERS["seeds"])
        seeds[int(name.removeprefix("seeds."))] = value
        values = changed("seeds", seeds)
    else:
        values = changed(name, value)
    assert name in refusal(write(tmp_path, values))


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "recipe",
        "device",
        "threads",
        "data.path",
        "models.mlp.lr",
        "data.canvas",
        "evaluation.boundaries",
        "seeds",
    ],
)
def test_missing_parameter_is_named(name: str, tmp_path: Path) -> None:
    values = copy.deepcopy(PARAMETERS)
    *parents, key = name.split(".")
    place = values
    for parent in parents:
        place = place[parent]
    del place[key]
    assert f"{name} is missing" in refusal(write(tmp_path, values))


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    values = changed("models.mlp.lr", -1.0)
    values["device"] = "gpu"
    message = refusal(write(tmp_path, values))
    assert "models.mlp.lr" in message
    assert "device" in message


def test_unknown_model_is_told_which_there_are(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, changed("models.vgg", {"lr": 0.1, "batch_size": 1, "epochs": 1})))
    assert "'vgg'" in message
    assert all(name in message for name in architectures.names())


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    assert "repository's root" in refusal(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text", ["a: [1", "a: 1\na: 2\n", "a: *nowhere", "\tx", "a: \xe9\x00", f"a: {'9' * 5000}", "a: 2020-99-99"]
)
def test_file_that_is_not_yaml_is_a_user_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="latin-1")
    assert "not YAML" in refusal(path)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words", "42"])
def test_yaml_that_is_not_a_mapping_is_a_user_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    refusal(path)


def test_settings_of_a_selected_model(tmp_path: Path) -> None:
    loaded = params.load(write(tmp_path, PARAMETERS))
    assert params.training(loaded, "mlp").epochs == 10
    with pytest.raises(UserError, match=r"'lenet' is not among .*\(mlp\)"):
        params.training(loaded, "lenet")


def test_components_are_checked_against_their_architecture(tmp_path: Path) -> None:
    assert (
        compose(tmp_path, "model=small", "models.small.components.head=max").models["small"].components["head"] == "max"
    )
    settings = {**PARAMETERS["models"]["mlp"], "components": {"head": "max"}}
    assert "models.mlp: mlp has no components to choose" in refusal(write(tmp_path, changed("models.mlp", settings)))
    settings["components"]["head"] = "flat"
    message = refusal(write(tmp_path, changed("models", {"small": settings})))
    assert "models.small.components: head is 'flat': input should be 'flatten', 'average' or 'max'" in message
    settings["components"] = {"padding": "valid", "layers": 5}
    message = refusal(write(tmp_path, changed("models", {"small": settings})))
    assert "models.small: 1 of 28 pixels a side are left before convolution 5, and valid padding leaves none" in message


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        ({"kind": "none", "pixels": 3}, "augmentation: kind is 'none' with 3 pixels"),
        ({"kind": "shifts", "pixels": 0}, "augmentation: kind is 'shifts' with 0 pixels"),
        ({"kind": "shifts", "pixels": 28}, "moves images of 28x28 pixels out of sight"),
        ({"kind": "crops", "pixels": 3}, "augmentation.kind is 'crops', for which models must see less than the whole"),
        ({"kind": "flips", "pixels": 3}, "augmentation.kind is 'flips'"),
    ],
)
def test_augmentations_that_can_not_be_are_refused(augmentation: object, words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path, changed("augmentation", augmentation)))


def test_a_model_can_have_a_recipe_and_an_augmentation_of_its_own(tmp_path: Path) -> None:
    own = {**PARAMETERS["models"]["mlp"], "recipe": "fast", "augmentation": {"kind": "shifts", "pixels": 3}}
    loaded = params.load(write(tmp_path, changed("models.mlp", own)))
    recorded = params.recorded("notebook", loaded.augmentation, "cpu", 2, "portable", loaded.models["mlp"])
    assert recorded == {
        "recipe": "fast",
        "augmentation": "shifts up to 3 pixels",
        "device": "cpu",
        "threads": 2,
        "determinism": "portable",
        "lr": 0.001,
        "batch_size": 64,
        "epochs": 10,
    }
    own["augmentation"]["pixels"] = 30
    assert "moves images of 28x28 pixels out of sight" in refusal(write(tmp_path, changed("models.mlp", own)))


def test_crops_need_a_margin(tmp_path: Path) -> None:
    values = changed("augmentation", {"kind": "crops", "pixels": 3})
    values["data"]["frame"] = [24, 24]
    assert "augmentation.pixels is 3, but images of 28x28 have 2 around a frame of 24x24" in refusal(
        write(tmp_path, values)
    )
    values["augmentation"]["pixels"] = 2
    assert str(params.load(write(tmp_path, values)).augmentation) == "crops up to 2 pixels"


VARIANTS = {"max": {}, "dense": {"architecture": "mlp", "lr": 0.001}, "wide": {"canvas": 48}}
CONTRAST = {"first": "max", "second": "dense", "metric": "clean", "boundary": "zero"}
CLAIM = {"says": "It helps.", "by": "somebody", "contrasts": [CONTRAST]}


def claimed(**otherwise: object) -> dict[str, Any]:
    """A study whose one contrast has something otherwise."""
    return study(claims={"helps": {**CLAIM, "contrasts": [{**CONTRAST, **otherwise}]}})


def study(variants: object = VARIANTS, claims: object = None, **otherwise: object) -> dict[str, Any]:
    values = copy.deepcopy(PARAMETERS)
    values["study"] |= {"name": ["mine"], "variants": variants, "claims": claims or {"helps": CLAIM}, **otherwise}
    return values


def test_variants_are_the_baseline_but_for_what_they_name(tmp_path: Path) -> None:
    every = params.load(
        write(tmp_path, study({**VARIANTS, "blurred": {"components": {"downsampling": "blurred max"}}}))
    ).study.full_variants
    assert every["max"].components == {"downsampling": "max"}
    assert every["blurred"].components == {"downsampling": "blurred max"}
    assert (every["blurred"].lr, every["dense"].lr) == (0.01, 0.001)
    assert every["dense"].components == {}  # another architecture has none of the baseline's
    assert every["wide"].canvas == 48


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (study({"max": {"components": {"downsampling": "min"}}}), "study: variant max: downsampling is 'min'"),
        (study({"max": {"colour": 1}}), "study: variant max: colour is not a parameter"),
        (study({"max": {"architecture": "vgg"}}), "variant max: architecture: no model 'vgg'"),
        (study({"max": {"architecture": "mlp", "components": {"head": "max"}}}), "variant max: mlp has no components"),
        (
            study({**VARIANTS, "bad": {"components": {"padding": "valid", "layers": 5}}}),
            "study.variants.bad: 1 of 28 pixels a side are left before convolution 5, and valid padding leaves none",
        ),
        (study({"max": {}}), "study: claim helps names the variant 'dense', which is not among study.variants (max)"),
        (study(seeds=[3]), "study: seeds are [3], but a verdict needs two at least"),
        (
            claimed(metric="beauty"),
            "study.claims.helps.contrasts.0.metric is 'beauty': input should be 'clean'",
        ),
        (
            claimed(boundary="spiral"),
            "study.claims.helps.contrasts.0.boundary is 'spiral': input should be 'zero', 'circular' or 'canvas'",
        ),
        (
            claimed(second="wide"),
            "claim helps asks for the boundary zero of the variant 'wide', whose canvas is 48",
        ),
        (
            claimed(boundary="canvas"),
            "claim helps asks for the boundary canvas of the variant 'max', whose canvas is None",
        ),
        (
            claimed(exactly=1.0),
            "a contrast is against a `second` variant, or says what the metric is `exactly`",
        ),
        (claimed(metric="distance 7"), "claim helps asks for distance 7, beyond the study's radius of 4"),
        (study(claims={"helps": {**CLAIM, "contrasts": []}}), "study.claims.helps.contrasts is []"),
        (
            study(claims={"helps": {**CLAIM, "contrasts": [{**CONTRAST, "on": "it"}, CONTRAST]}}),
            'study.claims.helps: a claim with several primary contrasts needs "on" in each, which says what its',
        ),
        (
            study(claims={"helps": {**CLAIM, "contrasts": [CONTRAST | {True: "it"}]}}),
            "YAML reads a bare on, off, yes or no as true or false, so put it in quotes",
        ),
        (claimed(secondary=True), "study.claims.helps: all contrasts are secondary, but a claim needs a primary one"),
    ],
)  # fmt: skip
def test_a_study_that_can_not_be_is_refused_before_anything_is_trained(
    values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert words in refusal(write(tmp_path, values))


def test_the_studys_claims_are_those_of_the_protocol(tmp_path: Path) -> None:
    chosen = compose(tmp_path, "study=claims").study
    assert len(chosen.claims) == 14
    named = {name for claim in chosen.claims.values() for contrast in claim.contrasts for name in contrast.variants}
    assert set(chosen.full_variants) == named  # no variant is trained for nothing
    contrasts = [contrast for claim in chosen.claims.values() for contrast in claim.primary]
    assert not [one for one in contrasts if one.metric == "clean"]  # a side condition vetoes nothing
    for one in contrasts:  # over large shifts, flattened heads are consistent by chance
        if one.metric == "consistency":
            assert {chosen.full_variants[name].components["head"] for name in one.variants} <= {"average", "max"}
    assert compose(tmp_path).study.variants == {}
