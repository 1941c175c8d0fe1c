"""The metrics, one file each: a function decorated with `shiftlab.metrics.registry.metric`. The folder is the list."""
