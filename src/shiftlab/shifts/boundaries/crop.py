"""Boundary `crop`: the frame is a window into a larger image, whose content moves in."""

from shiftlab.shifts.boundary import Boundary

BOUNDARY = Boundary(
    "window into a larger image",
    "a window of {width}x{height} pixels moves over the larger image, whose content enters",
    extend=None,
)
