"""Maps: metrics that have a value at each shift of the grid, `(D, D)`, D = 2 radius + 1: row dy, column dx.

They are nan at shifts that a sample of the grid lacks.
"""

import numpy as np

from shiftlab.metrics.intervals import Estimates, Labels, means, proportions, ratios
from shiftlab.shifts.grids import Shifts
from shiftlab.shifts.predictions import GridPredictions


def maps(grid: GridPredictions, labels: Labels) -> dict[str, Estimates]:
    """Return every metric that has a value at each shift, `(D, D)` each; labels `(M,)` are those of the grid's images.

    Accuracy; agreement with the prediction for the unshifted image, of all images and of those right unshifted; mean
    distance of the class probabilities from the unshifted image's, Euclidean and cosine; ink, the proportion of raw
    intensity that is still in the frame.
    """
    unshifted = grid.predicted[grid.centre]
    of_shifts = {
        "accuracy": proportions(grid.predicted == labels),
        "agreement": proportions(grid.predicted == unshifted),
        "agreement where right": proportions((grid.predicted == unshifted)[:, unshifted == labels]),
        "euclidean distance": means(grid.euclidean),
        "cosine distance": means(grid.cosine),
        "ink": ratios(grid.ink, grid.ink[grid.centre]),
    }
    return {name: as_map(one, grid.shifts) for name, one in of_shifts.items()}


def as_map(of_shifts: Estimates, shifts: Shifts) -> Estimates:
    """Return estimates at each of `shifts`, `(S,)`, laid out as the grid, `(D, D)`."""
    places = shifts.astype(int)
    radius = int(np.abs(places).max())
    tables = []
    for values in (of_shifts.value, of_shifts.low, of_shifts.high):
        table = np.full((2 * radius + 1,) * 2, np.nan)
        table[places[:, 1] + radius, places[:, 0] + radius] = values
        tables.append(table)
    return Estimates(*tables)
