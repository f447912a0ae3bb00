"""Pictures whose quality is known: what a quality scorer learns from."""
