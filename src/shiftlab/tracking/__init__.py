"""What MLflow is told, and what Git and DVC hold that it should be."""
