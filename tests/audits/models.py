"""A network that knows the digits a little, in every format that an audit reads."""

from functools import cache

import torch
from torch import Tensor, nn

from shiftlab.config.params import Training
from shiftlab.data.dataset import Dataset
from shiftlab.data.sources.digits import digits
from shiftlab.models import architectures
from shiftlab.networks.classifier import Classifier
from shiftlab.training import loop
from tests.helpers import GREY


@cache
def data() -> Dataset:
    train, test, classes = digits()
    return Dataset(train, test, test, classes, (28, 28))


@cache
def trained() -> Classifier:
    torch.manual_seed(0)
    model = architectures.build("small", GREY, 10)
    *_, state = loop.fit(model, data(), "fast", Training(lr=0.01, batch_size=64, epochs=2), torch.device("cpu"))
    model.load_state_dict(state.best)
    return model.eval()


class Plain(nn.Module):
    """The same network without its normalisation: what people bring."""

    def __init__(self) -> None:
        super().__init__()
        self.network = trained().network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


NORMALISED = ["--mean", "0.1307", "--std", "0.3081", "--channels", "grey"]


def build() -> nn.Module:
    """What `tests.audits.models:build` names."""
    return Plain()
