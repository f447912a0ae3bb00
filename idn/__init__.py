"""IDN: train, evaluate and export face-swapping networks small enough for a phone."""

__version__ = "0.1.0"
