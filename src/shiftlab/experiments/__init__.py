"""Many experiments: sweeps over choices, wherever there is room."""
