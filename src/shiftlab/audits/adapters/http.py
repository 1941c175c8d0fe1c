"""A served address, as MLflow's servers and ours answer it: `{"inputs": [...]}` posted, predictions back."""

import json
import urllib.error
import urllib.request

import numpy as np
from torch import Tensor

from shiftlab.audits.adapters import Given
from shiftlab.audits.model import Model
from shiftlab.audits.preprocessing import PreprocessingHints
from shiftlab.errors import UserError

PATIENCE_S = 120  # with one batch


def load(what: str, given: Given) -> Model:  # noqa: ARG001  # of all adapters alike
    """The address, which must answer POST."""

    def outputs(batch: Tensor) -> object:
        posted = json.dumps({"inputs": batch.cpu().numpy().astype(np.float64).tolist()}).encode()
        request = urllib.request.Request(what, posted, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read(300).decode(errors="replace")
            raise UserError(f"{what} refuses the images with status {error.code} ({' '.join(said.split())})") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{what} does not answer ({error}): start the server, or correct the address") from None
        return found["predictions"] if isinstance(found, dict) and "predictions" in found else found

    return Model(what, "served", outputs, PreprocessingHints(), whole=True)
