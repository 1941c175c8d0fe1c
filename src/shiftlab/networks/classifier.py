"""What every model is: raw images in, logits out."""

import torch
from torch import Tensor, nn

from shiftlab.networks import fast


class Classifier(nn.Module):
    """A network with its own normalisation in front, so that no caller can apply the wrong one.

    Args:
        network: takes float32 `(N, C, H, W)`, returns logits `(N, classes)`.
        mean, std: of pixels scaled to 0..1; the network sees `(x / 255 - mean) / std`, in every channel.
    """

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network = fast.prepare(network)  # the same function and state dict, sooner
        self.mean = mean
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 `(N, classes)`, of raw images `(N, C, H, W)`, uint8 or float32 in 0..255."""
        pixels = images.to(torch.float32) / 255
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits
