"""The search for a training recipe, with Optuna."""
