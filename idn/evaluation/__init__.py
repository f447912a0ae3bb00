"""Evaluation: methods that swap, pairs to try them on, metrics with intervals, the report, and comparing reports."""
