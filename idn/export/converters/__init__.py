"""What runs in the environment of a converter, where this package is not installed."""
