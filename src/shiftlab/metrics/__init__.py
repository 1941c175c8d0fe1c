"""Metrics: arrays in, estimates with intervals out, without disk, tracker or plots."""
