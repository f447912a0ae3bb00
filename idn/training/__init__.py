"""Training: building a run, fitting it, checkpoints, resuming and the report at its end."""
