"""Edits of photographs whose result is known, one per module."""
