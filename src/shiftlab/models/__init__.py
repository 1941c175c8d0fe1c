"""Networks: their architectures, the layers they are made of, what they cost, and their weights on disk."""
