"""Many machines: Ray, and what it is asked to do."""
