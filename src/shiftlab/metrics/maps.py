"""Maps: metrics that have a value at each shift of the grid, `(D, D)`, D = 2 radius + 1: row dy, column dx.

They are nan at shifts that a sample of the grid lacks.
"""

import numpy as np

from shiftlab.metrics.intervals import Estimates, means, proportions, ratios
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import GridPredictions, Labels


def maps(grid: GridPredictions, labels: Labels) -> dict[str, Estimates]:
    """Return every metric that has a value at each shift, `(D, D)` each; labels `(M,)` are those of the grid's images.

    Accuracy; agreement with the prediction for the unshifted image, of all images and of those right unshifted; mean
    distance of the class probabilities from the unshifted image's, Euclidean and cosine; ink, the proportion of raw
    intensity that is still in the frame.
    """
    unshifted = grid.predicted[grid.centre]
    agreeing = grid.predicted == unshifted
    by_shift = {
        "accuracy": proportions(grid.predicted == labels),
        "agreement": proportions(agreeing),
        "agreement where right": proportions(agreeing[:, unshifted == labels]),
        "euclidean distance": means(grid.euclidean),
        "cosine distance": means(grid.cosine),
        "ink": ratios(grid.ink, grid.ink[grid.centre]),
    }
    return {name: _as_map(estimates, grid.shifts) for name, estimates in by_shift.items()}


def _as_map(estimates: Estimates, shifts: Shifts) -> Estimates:
    """Return estimates at each of the shifts, `(S,)`, laid out as the grid, `(D, D)`."""
    places = shifts.astype(int)
    radius = int(np.abs(places).max())
    tables = np.full((3, 2 * radius + 1, 2 * radius + 1), np.nan)
    tables[:, places[:, 1] + radius, places[:, 0] + radius] = estimates.value, estimates.low, estimates.high
    return Estimates(*tables)
