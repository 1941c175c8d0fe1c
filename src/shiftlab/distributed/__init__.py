"""Work on many machines: Ray, and sweeps of experiments."""
