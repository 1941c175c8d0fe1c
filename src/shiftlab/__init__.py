"""Measure how much translation invariance a neural network has, and where it comes from."""

import importlib.util
import sys

# DVC starts a stage with whatever `python` stands first on the PATH. The wrong one would end in an import
# error deep inside some module; the right one is a sentence away.
if importlib.util.find_spec("torch") is None:
    sys.exit(
        f"error: {sys.executable} has no PyTorch: run `make setup` in the repository, "
        "or activate the environment that requirements.lock was installed into"
    )
