"""Shifts of images: boundary modes, grids, samples, and the predictions under them."""
