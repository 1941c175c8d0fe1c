"""What is measured of a model: arrays and PyTorch in, figures out, without disk, tracker or pictures."""
