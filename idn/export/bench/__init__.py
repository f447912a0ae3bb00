"""Bench: latency, throughput and memory of exported files and of PyTorch."""
