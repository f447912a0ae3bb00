"""What can be exported: one identity baked into a static network, or the parts that let an app change identity."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idn.data.first_pairs import FirstPairs, Part
from idn.data.loaders import SwapData
from idn.export.contract import Arrays
from idn.export.encoder_network import encoder_network
from idn.geometry import realign
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static_graph import baked
from idn.students.mobilefaceswap.student import Student
from idn.types import IdentityEncoder, IdentityFeatures, Network


@dataclass(frozen=True)
class Product:
    """What is exported: its networks with examples to compare on and, for int8, to calibrate with."""

    name: str
    """ "baked" or "dynamic"."""
    identity: str | None
    """Fingerprint of the identity that is baked in."""
    networks: Mapping[bool, Sequence[Network]]
    """By whether convolutions with kernels as inputs are wanted."""
    examples: Mapping[str, Sequence[Arrays]]
    """By name of the network: held-out crops."""
    calibration: Mapping[str, Sequence[Arrays]]
    """By name of the network: other crops; empty if no precision asks for them."""
    encoder: IdentityEncoder | None
    """Of the dynamic product."""


def bake_product(
    student: Student, who: IdentityFeatures, data: SwapData, crops: int, calibration: int, blocks: bool
) -> Product:
    """The static network of one identity.

    crops, calibration: how many targets to compare on and to calibrate with; blocks: see `InferenceGraph`.
    """
    network = baked(student.bake(who.embedding, who.features), data.size, blocks)
    fit = {"swap": [(t[None].numpy(),) for t in _targets(data, "val", crops)]}
    tune = {"swap": [(t[None].numpy(),) for t in _targets(data, "train", calibration)]}
    digest = hashlib.sha256(who.embedding.contiguous().numpy().tobytes()).hexdigest()
    return Product("baked", digest, {True: [network], False: [network]}, fit, tune, None)


def dynamic_product(
    student: Student, encoder: IdentityEncoder, data: SwapData, crops: int, calibration: int, blocks: bool
) -> Product:
    """Encoder, injection network and IDN apart. encoder: built for crops of its own template; the rest as above."""
    first = encoder_network(encoder)
    networks = {kernels: [first, *dynamic(student, data.size, kernels, blocks)] for kernels in (True, False)}
    injection = networks[True][1].module
    fit = _chain(first.module, injection, encoder, data, "val", crops)
    tune = _chain(first.module, injection, encoder, data, "train", calibration)
    return Product("dynamic", None, networks, fit, tune, encoder)


def _targets(data: SwapData, part: Part, count: int) -> Iterator[Tensor]:
    for pair in _pairs(data, part, count):
        yield pair[1]


def _pairs(data: SwapData, part: Part, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(source, target), (3, S, S) each."""
    left = count
    for batch in FirstPairs(data, part, count) if count else ():
        yield from zip(batch.source[:left], batch.target[:left], strict=True)
        left -= len(batch.target)


@torch.inference_mode()
def _chain(
    encode: nn.Module, inject: nn.Module, encoder: IdentityEncoder, data: SwapData, part: Part, count: int
) -> dict[str, list[Arrays]]:
    """Inputs of the three networks, each from the outputs of the one before."""
    found: dict[str, list[Arrays]] = {"encoder": [], "injection": [], "swap": []}
    for source, target in _pairs(data, part, count):
        crop = realign(source[None], data.template, encoder.template, encoder.input_size)
        seen = encode(crop)
        found["encoder"].append((crop.numpy(),))
        found["injection"].append(tuple(value.numpy() for value in seen))
        found["swap"].append((target[None].numpy(), inject(*seen)[0].numpy()))
    return found
