"""A metric for training loops: how consistent is the network by now?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shiftlab.audits.model import unpack
from shiftlab.config.params import BoundaryName
from shiftlab.errors import UserError, extra
from shiftlab.metrics.definitions.consistency import consistency_by_image
from shiftlab.shifts import boundaries
from shiftlab.shifts.grids import sample
from shiftlab.shifts.transform import crop_at

with extra("torchmetrics"):
    from torchmetrics import Metric


class ShiftConsistency(Metric):
    """The chance that two different shifts of an image are predicted the same (PROTOCOL.md, "What is computed").

    Exact over all pairs of a grid's shifts, or estimated from a sample of them; mean over images:

        metric = ShiftConsistency(radius=2)
        for images, _ in loader:
            metric.update(network, images)
        metric.compute()

    Beside metrics of logits in a `MetricCollection` the arguments go by name, of which each metric takes its own:
    `collection.update(preds=logits, target=labels, network=network, images=images)`.

    Args:
        radius: pixels, of the largest shift along each axis.
        boundary: the boundary mode, one that needs no larger image: "zero" or "circular".
        shifts: how many are drawn beside the grid's anchors, or "all" of them.
        black: what a vacated pixel holds in the images as the network takes them: 0 where they are raw or in 0..1,
            -mean/std where they are normalised.
        seed: of what is drawn.

    Raises:
        UserError: a value that can't be.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    agreeing: Tensor
    images: Tensor

    def __init__(
        self,
        radius: int = 2,
        boundary: BoundaryName = "zero",
        shifts: int | str = "all",
        black: float = 0.0,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        modes = [name for name in boundaries.names() if boundaries.get(name).margin(1) == 0]
        if radius < 1 or boundary not in modes:
            known = " or ".join(modes)
            raise UserError(f"radius is {radius} and boundary {boundary!r}: take a radius from 1, and {known}")
        self.radius, self.boundary, self.black = radius, boundary, black
        self.shifts = sample(radius, shifts, seed)
        # A collection computes metrics together whose states are alike after a batch: their settings must tell apart.
        settings_of = torch.tensor([radius, modes.index(boundary), black, *self.shifts.ravel().tolist()])
        self.add_state("settings", settings_of, dist_reduce_fx="mean")
        self.add_state("agreeing", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, network: Callable[[Tensor], object], images: Tensor) -> None:
        """Predict a batch `(N, C, H, W)` under every shift; the network is not put into evaluation mode here.

        It returns a row of logits for each image, or an object that has them (`logits`).

        Raises:
            UserError: the network is none; it does not return that.
        """
        if not callable(network):
            raise UserError(
                f"ShiftConsistency.update takes a network and images; its network is a {type(network).__name__}: in a "
                "MetricCollection name the arguments, update(preds=..., target=..., network=..., images=...)"
            )
        padded = boundaries.get(self.boundary).pad(images - self.black, self.radius) + self.black
        with torch.no_grad():
            outputs = (network(crop_at(padded, self.radius, dx, dy)) for dx, dy in self.shifts.tolist())
            labels = [unpack(output, len(images), "the network").argmax(1).cpu() for output in outputs]
        self.agreeing += float(consistency_by_image(torch.stack(labels).numpy(), self.shifts).sum())
        self.images += len(images)

    def compute(self) -> Tensor:
        """Return the mean over all images, in 0..1; nan before any image."""
        return self.agreeing / self.images
