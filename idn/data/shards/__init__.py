"""Sharded crops: WebDataset tar files with an index of every picture in them, local or behind a URL."""
