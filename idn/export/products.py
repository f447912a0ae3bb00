"""What can be exported: one identity baked into a static network, or the parts that let an app change identity."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idn.data.first_pairs import FirstPairs, Part
from idn.data.loaders import SwapData
from idn.errors import OptionError
from idn.export.contract import Arrays
from idn.export.encoder_network import encoder_network
from idn.geometry.warping import realign
from idn.students.protocol import SwapStudent
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


def check_size(size: object, stride: int) -> None:
    """Raise OptionError unless a student whose sides are multiples of `stride` takes targets of `size` px."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1 or size % stride:
        near = max(stride, round(size / stride) * stride) if isinstance(size, int | float) else 7 * stride
        wrong = "is no number of pixels" if isinstance(size, int) and size < 1 else f"is not divisible by {stride}"
        raise OptionError("size", size, f"{wrong}: take {near}")


def bake_product(
    student: SwapStudent, who: IdentityFeatures, data: SwapData, crops: int, calibration: int, blocks: bool
) -> Product:
    """The network of one identity.

    student: in eval mode.
    crops, calibration: how many targets to compare on and to calibrate with.
    blocks: see Deployment.
    """
    network = student.deployment().baked(who, data.size, blocks)
    fit = {network.name: [(t[None].numpy(),) for t in _targets(data, "val", crops)]}
    tune = {network.name: [(t[None].numpy(),) for t in _targets(data, "train", calibration)]}
    digest = hashlib.sha256(who.embedding.contiguous().numpy().tobytes()).hexdigest()
    return Product("baked", digest, {True: [network], False: [network]}, fit, tune, None)


def dynamic_product(
    student: SwapStudent, encoder: IdentityEncoder, data: SwapData, crops: int, calibration: int, blocks: bool
) -> Product:
    """The encoder and the networks of any person. encoder: built for crops of its own template; the rest as above."""
    first, deployment = encoder_network(encoder, student.reads), student.deployment()
    networks = {kernels: [first, *deployment.dynamic(data.size, kernels, blocks)] for kernels in (True, False)}
    fit, tune = (
        _chain(networks[True], encoder, data, part, count) for part, count in (("val", crops), ("train", calibration))
    )
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
    networks: Sequence[Network], encoder: IdentityEncoder, data: SwapData, part: Part, count: int
) -> dict[str, list[Arrays]]:
    """Inputs of every network, from the outputs of those before."""
    found: dict[str, list[Arrays]] = {network.name: [] for network in networks}
    for source, target in _pairs(data, part, count):
        crop = realign(source[None], data.template, encoder.template, encoder.input_size)
        known = {"crop": crop, "target": target[None]}
        for network in networks:
            inputs = [known[name] for name in network.inputs]
            found[network.name].append(tuple(value.numpy() for value in inputs))
            known |= dict(zip(network.outputs, network.module(*inputs), strict=True))
    return found
