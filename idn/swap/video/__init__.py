"""Videos: faces followed from frame to frame, and decoding, network and encoding side by side."""
