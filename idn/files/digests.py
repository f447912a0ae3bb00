"""SHA-256 of files and of a network's weights."""

import hashlib
from pathlib import Path

import torch
from torch import nn


def file_sha256(*paths: Path) -> str:
    """Checksum of a file, in hexadecimal digits; of several, that of their bytes one after the other.

    Memory does not grow with their size. Raises OSError for what cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def content_sha256(content: bytes) -> str:
    """Checksum of what a file holds or will hold, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def weights_digest(network: nn.Module) -> str:
    """Checksum of what a network was given to compute with, the same on every device.

    That is every parameter and buffer, by name, and the content of every file that one of its parts names as
    `weights_file`, because its tensors do not tell all of it.
    """
    digest = hashlib.sha256()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for part in network.modules():
        if (path := getattr(part, "weights_file", None)) is not None:
            digest.update(file_sha256(Path(path)).encode())
    return digest.hexdigest()
