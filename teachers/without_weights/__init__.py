"""Teachers that need no file of weights: procedural, blend, the exact answer, the target itself."""
