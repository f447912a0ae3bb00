"""The student: injection network and IDN together. This is what is optimised, averaged and saved."""

import copy
import json
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.files.tensors import load_strict, read_metadata, read_tensors, write_tensors
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.initialisation import initialise
from idn.students.mobilefaceswap.injection import InjectionNetwork
from idn.students.mobilefaceswap.layout import Layout
from idn.students.mobilefaceswap.network import IDN
from idn.students.mobilefaceswap.static import StaticIDN, bake
from idn.types import IdentityFeatures, SwapOutput

CONFIG = "idn.student"
"""Key under which a student file keeps the arguments of its constructor, as JSON."""


class Student(nn.Module):
    """Injection network, once per source identity, and IDN, once per frame (MobileFaceSwap, arXiv:2201.03808).

    `embedding_dim`, `feature_channels` and `feature_size` are those of the identity encoder: 512, 512 and 7 in the
    published network. `width`, 0.25 to 2, scales the channels of the IDN and of the prediction chains. Raises
    UserError for a width or a feature size (below 4) that no such network has.
    """

    def __init__(self, embedding_dim: int, feature_channels: int, feature_size: int = 7, width: float = 1.0) -> None:
        super().__init__()
        self.config = {
            "embedding_dim": embedding_dim,
            "feature_channels": feature_channels,
            "feature_size": feature_size,
            "width": width,
        }
        layout = Layout.of(width)
        self.injection = InjectionNetwork(embedding_dim, feature_channels, feature_size, layout)
        self.idn = IDN(layout)
        initialise(self)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        """Put one identity into each target, (N, 3, S, S) RGB in [0, 1]: `inject`, then `swap`."""
        return self.swap(target, self.inject(identity.embedding, identity.features))

    def inject(self, id_emb: Tensor, id_features: Tensor) -> DynamicWeights:
        """Weights of N identities. id_emb: (N, D), L2-normalised; id_features: (N, C, s, s), of the same pass.

        Raises ValueError for other sizes than the student was built for.
        """
        return self.injection(id_emb, id_features)

    def swap(self, target: Tensor, weights: DynamicWeights) -> SwapOutput:
        """Put the identities of `weights` into `target`, (N, 3, S, S) RGB in [0, 1].

        Returns image (N, 3, S, S) and mask (N, 1, S, S), both in [0, 1]. Raises UserError unless S is divisible by 32,
        ValueError if `weights` hold another N.
        """
        return self.idn(target, weights)

    @torch.no_grad()
    def bake(self, id_emb: Tensor, id_features: Tensor) -> StaticIDN:
        """The plain static network of one identity, in eval mode whatever the mode of the student.

        id_emb: (1, D); id_features: (1, C, s, s). The result shares nothing with the student. Raises ValueError for
        more than one identity.
        """
        if len(id_emb) != 1:
            raise ValueError(f"a network is baked for one identity, got {len(id_emb)}")
        return bake(self.idn, copy.deepcopy(self.injection).eval()(id_emb, id_features))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters in three groups that want learning rates of their own.

        "prediction": the prediction chains. Their convolutions sum up to 8,192 inputs, so a step of Adam that suits the
        small layers of the IDN would replace the predicted kernels altogether. "modulation": the linear layers that
        read the embedding, whose numbers are small because its length is 1. "network": everything else.
        """
        prediction = list(self.injection.prediction.parameters())
        modulation = [p for module in self.injection.modulation for p in module.gain.parameters()]
        known = {id(parameter) for parameter in (*prediction, *modulation)}
        network = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return {"prediction": prediction, "modulation": modulation, "network": network}

    def save(self, path: str | Path, metadata: dict[str, str] | None = None) -> None:
        """Write one safetensors file with weights, constructor arguments and `metadata`. All of it or nothing."""
        write_tensors(path, self.state_dict(), {**(metadata or {}), CONFIG: json.dumps(self.config)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by `save`, on the CPU, in training mode like any new module.

        Raises UserError if the file is no student or its tensors do not fit the arguments that it names.
        """
        config = read_metadata(path).get(CONFIG)
        if config is None:
            raise UserError(f"{path} is not a student: choose a file written by training or by `idn import`")
        try:
            student = cls(**json.loads(config))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} names arguments that no student has ({error}): write the file again") from error
        load_strict(student, read_tensors(path), str(path))
        return student
