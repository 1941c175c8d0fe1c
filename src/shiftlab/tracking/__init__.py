"""MLflow's runs and models, and what Git and DVC hold for them."""
