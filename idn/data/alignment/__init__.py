"""Face alignment: detect, crop by landmarks, write a manifest, with worker processes."""
