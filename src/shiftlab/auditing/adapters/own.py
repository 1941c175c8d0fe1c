"""A .safetensors file that this repository's pipeline trained, which names its architecture."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from shiftlab import files
from shiftlab.auditing.adapters import Given
from shiftlab.auditing.model import Model
from shiftlab.auditing.modules import OF_CLASSIFIER, outputs_in, read_weights
from shiftlab.auditing.preprocessing import Carried
from shiftlab.errors import UserError
from shiftlab.models import architectures, weights
from shiftlab.models.fusion import fused

GREY = (1,)


def load(what: str, given: Given) -> Model:
    """The network that the pipeline evaluates.

    Raises:
        UserError: no such file; not of this repository.
    """
    path = Path(what)
    tensors = read_weights(path, trust_pickle=False)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path} can't be read ({error})") from None
    if "architecture" not in about:
        raise UserError(
            f"{path} does not name its architecture: give it as timm:NAME --weights {path}, or torchvision:NAME"
        )
    name = about["architecture"].partition(" ")[0]
    sides = given.frame or (given.image[1:] if given.image else None)
    if sides is None:
        raise UserError(f"the images differ in size, and {path} does not tell what it was trained on: give --crop")
    convolved = [value.shape[1] for key, value in sorted(tensors.items()) if value.ndim == 4]
    shape = (convolved[0] if convolved else (given.image or GREY)[0], *sides)
    classes = outputs_in(tensors, architectures.build(name, shape, 2))
    if classes is None:
        raise UserError(f"{path} does not hold the weights of {name}: `dvc checkout` brings them back")
    module = fused(weights.load(name, path, shape, classes), shape).to(given.device)
    carried = OF_CLASSIFIER.over(Carried(frame=shape[1:], channels="grey" if shape[0] == 1 else "rgb"))
    digest = files.sha256(path)
    return Model(path.stem, "shiftlab", module, carried, digest, module=module)
