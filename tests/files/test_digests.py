"""Checksums of files and of what a network computes with."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from idn.files.digests import file_sha256, weights_digest


def test_the_checksum_of_files_is_that_of_their_bytes_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * ((1 << 20) + 1))
    second.write_bytes(b"y")
    whole = first.read_bytes() + second.read_bytes()
    assert file_sha256(first) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert file_sha256(first, second) == hashlib.sha256(whole).hexdigest() != file_sha256(second, first)


def test_a_digest_tells_weights_and_nothing_else(tmp_path: Path) -> None:
    class Layers(nn.Sequential):
        """With the file that it might have come from."""

        weights_file: Path | None = None

    def network(seed: int = 0, file: bytes | None = None) -> Layers:
        torch.manual_seed(seed)
        net = Layers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        if file is not None:
            net.weights_file = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
            net.weights_file.write_bytes(file)
        return net

    known = weights_digest(network())
    assert known == weights_digest(network().eval().requires_grad_(False).to(memory_format=torch.channels_last))
    assert known != weights_digest(network(1)) and known != weights_digest(network().half())
    statistics = network()
    statistics[1].running_var[0] += 1e-6
    assert known != weights_digest(statistics)
    assert weights_digest(nn.ModuleDict({"a": network()})) != weights_digest(nn.ModuleDict({"b": network()}))
    by_file = [weights_digest(network(file=content)) for content in (b"graph", b"graph", b"other")]
    assert by_file[0] == by_file[1] != by_file[2] and known not in by_file
    nested = [weights_digest(nn.ModuleList([network(file=content)])) for content in (b"graph", b"other")]
    assert nested[0] != nested[1]
