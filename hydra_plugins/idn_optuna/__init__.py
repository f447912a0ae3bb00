"""Hydra plugin: a sweeper that searches with Optuna."""
