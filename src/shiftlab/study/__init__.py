"""Where invariance comes from: variants of one network, and the claims that they decide. PROTOCOL.md, "Study"."""
