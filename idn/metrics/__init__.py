"""Metrics with their names, meanings and directions: of swaps, of face verification, of quality scorers."""
