"""Verbs of the command line: the table of them, and one module for each group of them."""
