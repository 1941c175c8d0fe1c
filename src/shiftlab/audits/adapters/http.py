"""A served address, as MLflow's servers and ours answer it: `{"inputs": [...]}` posted, predictions back."""

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

import numpy as np
from torch import Tensor

from shiftlab.audits.adapters import ModelOptions
from shiftlab.audits.model import Model
from shiftlab.errors import UserError

TIMEOUT_S = 120  # of one batch


def load(name: str, options: ModelOptions) -> Model:  # noqa: ARG001  # the signature of every adapter
    """Return the model at an address, which must answer POST; one that limits bodies gets fewer images at a time."""
    most: list[int] = []  # images that it may take, after it has refused more

    def outputs(batch: Tensor) -> Any:
        if most and len(batch) > most[-1]:
            return [row for part in batch.split(most[-1]) for row in outputs(part)]
        body = json.dumps({"inputs": batch.cpu().numpy().astype(np.float64).tolist()}).encode()
        request = urllib.request.Request(name, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(batch) > 1:
                most.append(len(batch) // 2)
                return outputs(batch)
            words = error.read(300).decode(errors="replace")
            raise UserError(f"{name} refuses the images with status {error.code} ({' '.join(words.split())})") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{name} does not answer ({error}): start the server, or correct the address") from None
        return answer["predictions"] if isinstance(answer, dict) and "predictions" in answer else answer

    return Model(name, "served", outputs, integers=True)
