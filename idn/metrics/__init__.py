"""Metrics: of images, of identity, of face verification."""
