"""Examining a teacher before training: dry run, self-test, report."""
