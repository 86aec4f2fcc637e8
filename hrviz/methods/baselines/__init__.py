"""Baselines: what every method is compared with."""
