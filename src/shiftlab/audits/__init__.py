"""Audits: models and images of the user's, and the page to draw on."""
