"""Export formats: one file per target format, and the registry of them."""
