"""Sweeps: what became of each run, their ranking, and the report."""
