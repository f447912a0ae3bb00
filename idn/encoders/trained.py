"""MobileFaceNets trained with this package: the file format, and the encoder that reads it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idn.encoders.input_crop import check_template
from idn.encoders.mobilefacenet import MobileFaceNet
from idn.errors import FileError, ForeignFile, MissingFile, UserError
from idn.files.remote import local
from idn.files.tensors import load_strict, read_metadata, read_tensors, write_tensors
from idn.frozen import Frozen
from idn.types import IdentityFeatures

BUNDLED = Path(__file__).parent / "weights" / "procedural_mobilefacenet.safetensors"
"""The encoder of procedural faces that comes with the package."""
BUNDLED_RECOGNISER = BUNDLED.with_name("procedural_recogniser.safetensors")
"""A second one, of another seed, size and crop, which never teaches: it tells what the first was talked into."""

_FORMAT = "idn-mobilefacenet-1"
_CONFIG = ("width", "embedding_dim", "input_size", "template")
"""Arguments of `MobileFaceNet` that a file keeps, in their order."""
_KNOWN = {"83d3411b": "procedural_mobilefacenet", "6ce8618c": "procedural_recogniser"}
"""What encoders that come with the package are called, by the digest of their tensors."""


def weights_name(tensors: Mapping[str, Tensor]) -> str:
    """A name that follows the weights, as a file holds them, wherever that file lies: 8 digits of a SHA-256.

    The encoder that comes with the package has a name in words.
    """
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    short = digest.hexdigest()[:8]
    return f"MobileFaceNet {_KNOWN.get(short, short)}"


def save_trained(
    network: MobileFaceNet, path: str | Path, licence: str, command: str, scores: dict[str, float]
) -> None:
    """Write a trained network as one safetensors file that `TrainedMobileFaceNet` opens without further options.

    Kernels are stored in half precision, vectors (biases, BatchNorm) in single. licence: who may use the weights;
    command: the line that trained them; scores: what they reached. All of it, the architecture and the `weights_name`
    go into the metadata. The network itself is not changed.
    """
    tensors = {key: value.half() if value.ndim > 1 else value for key, value in network.state_dict().items()}
    metadata = {
        "format": _FORMAT,
        "name": weights_name(tensors),
        "config": json.dumps({key: getattr(network, key) for key in _CONFIG}),
        "licence": licence,
        "command": command,
        "scores": json.dumps(scores),
    }
    write_tensors(path, tensors, metadata)


class TrainedMobileFaceNet(Frozen):
    """Frozen MobileFaceNet from a file of `save_trained`; its size and alignment come from the file's metadata.

    Its name is the `weights_name`, wherever the file lies and whatever it is called.
    weights: the file, or its URL; None takes the bundled encoder of procedural faces, which knows no real person.
    crop_template: alignment template of the pictures it will be given.
    photographs: these may be photographs even for the bundled encoder; otherwise it is `drawn_only`, and whoever brings
        it together with photographs should refuse.
    Raises UserError when the file is missing, damaged, of another format, or does not say everything.
    """

    def __init__(self, weights: str | Path | None, crop_template: str, photographs: bool = False) -> None:
        super().__init__()
        self.drawn_only = weights is None and not photographs
        path = BUNDLED if weights is None else local(weights)
        if not path.is_file():
            raise MissingFile(
                path, "does not exist: train an identity encoder with `idn train-encoder`, or give its file"
            )
        metadata = read_metadata(path)
        config, self.licence = _read_notes(path, metadata)
        tensors = read_tensors(path)
        self.net = _network(path, config, crop_template)
        load_strict(self.net, tensors, f"identity encoder {path}")
        self.name = weights_name(tensors)
        self.embedding_dim = self.net.embedding_dim
        self.feature_channels, self.feature_size = self.net.feature_channels, self.net.feature_size
        self.template, self.input_size = self.net.template, self.net.input_size
        self.net.fold()
        self.to(memory_format=torch.channels_last).freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. See `MobileFaceNet.forward` for the maps."""
        return self.net(images)


class ProceduralRecogniser(TrainedMobileFaceNet):
    """The bundled encoder of procedural faces that does not teach. crop_template: as in `TrainedMobileFaceNet`."""

    def __init__(self, crop_template: str) -> None:
        super().__init__(BUNDLED_RECOGNISER, crop_template)
        self.drawn_only = True


def _network(path: Path, config: list[Any], crop_template: str) -> MobileFaceNet:
    """The network that a file describes. UserError for one that cannot be, OptionError for the crops' template."""
    check_template("crop_template", crop_template)
    try:
        return MobileFaceNet(*config, crop_template)
    except (UserError, ValueError, TypeError, RuntimeError) as error:
        raise FileError(path, f"describes an encoder that cannot be ({error}): train it again") from error


def _read_notes(path: Path, metadata: Mapping[str, str]) -> tuple[list[Any], str]:
    """Arguments of `MobileFaceNet`, without the last, and licence of an encoder's file."""
    if metadata.get("format") != _FORMAT:
        raise ForeignFile(path, f"is no identity encoder of this package: its format is not {_FORMAT}")
    try:
        config = json.loads(metadata["config"])
        return [config[key] for key in _CONFIG], metadata["licence"]
    except (KeyError, ValueError, TypeError) as error:
        raise ForeignFile(path, f"does not say everything about its encoder ({error}): train it again") from error
