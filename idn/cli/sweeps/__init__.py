"""Sweeps on the command line: their runs, the search by Optuna, what is said at their end."""
