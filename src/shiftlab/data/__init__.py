"""Images: where they come from, and whole data sets as tensors."""
