"""The metrics: functions decorated with `shiftlab.metrics.registry.metric`. The folder is the list."""
