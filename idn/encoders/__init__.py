"""Identity encoders: frozen face recognisers, one file per published architecture."""
