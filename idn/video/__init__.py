"""Video files by PyAV: reading, changing pixels in the planes they are stored in, encoding in parts, and muxing."""
