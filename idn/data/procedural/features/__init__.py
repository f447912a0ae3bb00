"""Facial features that the procedural renderer draws."""
