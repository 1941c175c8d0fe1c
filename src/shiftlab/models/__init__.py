"""Architectures, one file each, and their weights on disk."""
