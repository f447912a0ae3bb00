"""Frozen teachers: swappers that the student learns from, each behind the same small interface."""
