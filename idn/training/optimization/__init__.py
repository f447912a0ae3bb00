"""Optimizers, learning rate schedules and the moving average (EMA) of weights."""
