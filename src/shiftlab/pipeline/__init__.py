"""The pipeline's stages as functions, and what runs them."""
