"""Training images in a new order in every epoch, and moved where an augmentation says so."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from shiftlab.config.params import Augmentation
from shiftlab.data.dataset import Examples, center_crop

NONE = Augmentation(kind="none", pixels=0)


class Augmented:
    """Examples whose images are windows of `frame`, (height, width): the middle, or somewhere within `pixels` of it."""

    def __init__(self, examples: Examples, frame: tuple[int, int], augmentation: Augmentation) -> None:
        self._pixels = augmentation.pixels
        height, width = frame
        if augmentation.kind == "crops":  # what the larger image has there moves in at the edge; else black
            padded = center_crop(examples.images, (height + 2 * self._pixels, width + 2 * self._pixels))
        else:
            padded = pad(center_crop(examples.images, frame), (self._pixels,) * 4)
        # All windows of all images, (N, C, D, D, h, w) with D = 2 pixels + 1: a view, of which an epoch takes one each.
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        self._labels = examples.labels

    def __len__(self) -> int:
        return len(self._labels)

    def middle(self, count: int) -> Examples:
        """The first `count` examples, not moved."""
        return Examples(self._windows[:count, :, self._pixels, self._pixels].contiguous(), self._labels[:count])

    def shuffled(self) -> Examples:
        """All examples in an order from PyTorch's global generator, each moved by a shift of its own.

        The shifts come from a generator made from where the global one stands, which they leave there: with or without
        an augmentation, a seed gives the same orders.
        """
        order = torch.randperm(len(self)).to(self._labels.device)
        if self._pixels == 0:
            images = self._windows[:, :, 0, 0].index_select(0, order)
        else:
            own = torch.Generator()
            own.set_state(torch.get_rng_state())
            own.manual_seed(int(torch.randint(2**62, (), generator=own)))
            down, right = torch.randint(2 * self._pixels + 1, (2, len(order)), generator=own).to(order.device)
            images = self._windows[order, :, down, right]
        return Examples(images, self._labels.index_select(0, order))
