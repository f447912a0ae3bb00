"""MobileFaceNets trained with this package: the file format, and the encoder that reads it."""

import json
from pathlib import Path

import torch
from torch import Tensor

from idn.errors import UserError
from idn.frozen import Frozen
from idn.identity.mobilefacenet import MobileFaceNet
from idn.types import IdentityFeatures
from idn.weights import load_strict, read_metadata, read_tensors, write_tensors

BUNDLED = Path(__file__).parent / "weights" / "procedural_mobilefacenet.safetensors"
"""The encoder of procedural faces that comes with the package."""

_FORMAT = "idn-mobilefacenet-1"


def save_trained(
    network: MobileFaceNet, path: str | Path, licence: str, command: str, scores: dict[str, float]
) -> None:
    """Write a trained network as one safetensors file that `TrainedMobileFaceNet` opens without further options.

    Kernels are stored in half precision, vectors (biases, BatchNorm) in single. licence: who may use the weights;
    command: the line that trained them; scores: what they reached. All of it, and the architecture, goes into the
    metadata. The network itself is not changed.
    """
    config = {
        "width": network.width,
        "embedding_dim": network.embedding_dim,
        "input_size": network.input_size,
        "template": network.template,
    }
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(config),
        "licence": licence,
        "command": command,
        "scores": json.dumps(scores),
    }
    tensors = {key: value.half() if value.ndim > 1 else value for key, value in network.state_dict().items()}
    write_tensors(path, tensors, metadata)


class TrainedMobileFaceNet(Frozen):
    """Frozen MobileFaceNet from a file of `save_trained`; its size and alignment come from the file's metadata.

    weights: the file; None takes the bundled encoder of procedural faces, which knows no real person.
    frame: alignment template of the pictures it will be given.
    Raises UserError when the file is missing, damaged or of another format.
    """

    def __init__(self, weights: str | Path | None, frame: str) -> None:
        super().__init__()
        path = BUNDLED if weights is None else Path(weights)
        if not path.is_file():
            raise UserError(f"{path} does not exist: train an identity encoder with `idn identity`, or give its file")
        metadata = read_metadata(path)
        if metadata.get("format") != _FORMAT:
            raise UserError(f"{path} is no identity encoder of this package: its format is not {_FORMAT}")
        config = json.loads(metadata["config"])
        self.net = MobileFaceNet(
            config["width"], config["embedding_dim"], config["input_size"], config["template"], frame
        )
        load_strict(self.net, read_tensors(path), f"identity encoder {path}")
        self.name, self.licence = f"MobileFaceNet {path.stem}", metadata["licence"]
        self.embedding_dim = self.net.embedding_dim
        self.feature_channels, self.feature_size = self.net.feature_channels, self.net.feature_size
        self.template, self.input_size = self.net.template, self.net.input_size
        self.net.fold()
        self.to(memory_format=torch.channels_last).freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], framed as `frame`. See `MobileFaceNet.forward` for the maps."""
        return self.net(images)
