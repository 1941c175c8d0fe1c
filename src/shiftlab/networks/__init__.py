"""What architectures are put together from: layers, components, a classifier; what it costs, what makes it fast."""
