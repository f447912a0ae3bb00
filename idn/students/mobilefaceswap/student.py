"""MobileFaceSwap: injection network and IDN together. This is what is optimised, averaged and saved."""

import copy
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from idn.students.mobilefaceswap.deployment import IDNDeployment
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.initialisation import initialise
from idn.students.mobilefaceswap.injection import InjectionNetwork
from idn.students.mobilefaceswap.layout import Layout
from idn.students.mobilefaceswap.network import IDN, STRIDE
from idn.students.mobilefaceswap.static import StaticIDN, bake
from idn.students.protocol import SwapStudent
from idn.types import EncoderDescription, IdentityFeatures, SwapOutput

RATES: Mapping[str, float] = MappingProxyType({"prediction": 0.003, "modulation": 3.0})
"""Learning rates of its parameter groups, relative to that of the optimizer, which suit Adam."""


class Student(SwapStudent, architecture="mobilefaceswap"):
    """Injection network, once per source identity, and IDN, once per frame (MobileFaceSwap, arXiv:2201.03808).

    encoder: of the identities; the published network reads embeddings of 512 numbers and 512 maps of 7 x 7.
    width: scales the channels of the IDN and of the prediction chains, 0.25 to 2.
    rates: learning rates of its `parameter_groups`, relative to that of the optimizer; None for 1 everywhere.
    Raises OptionError for another width, UserError for an encoder whose maps have less than 4 pixels a side.
    """

    stride = STRIDE

    def __init__(
        self, encoder: EncoderDescription, width: float = 1.0, rates: Mapping[str, float] | None = RATES
    ) -> None:
        super().__init__(encoder, {"width": width}, rates)
        layout = Layout.of(width)
        self.injection = InjectionNetwork(encoder.embedding_dim, encoder.feature_channels, encoder.feature_size, layout)
        self.idn = IDN(layout)
        initialise(self, layout)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        """Put one identity into each target, (N, 3, S, S) RGB in [0, 1]: `inject` once per identity, then `swap`."""
        return self.swap(target, self.inject(identity.embedding, identity.features))

    def inject(self, id_emb: Tensor, id_features: Tensor) -> DynamicWeights:
        """Weights of M identities. id_emb: (M, D), L2-normalised; id_features: (M, C, s, s), of the same pass.

        Raises ValueError for other sizes than the student was built for. Maps that an encoder left channels-last are
        laid out anew: on a CPU all convolutions after such maps would copy their weights and gradients, 80 MB each.
        """
        return self.injection(id_emb, id_features.contiguous())

    def swap(self, target: Tensor, weights: DynamicWeights) -> SwapOutput:
        """Put the M identities of `weights` into `target`, (N, 3, S, S) RGB in [0, 1], each into N / M in a row.

        Returns image (N, 3, S, S) and mask (N, 1, S, S), both in [0, 1]. Raises UserError unless S is divisible by 32,
        ValueError if M does not divide N.
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

    def deployment(self) -> IDNDeployment:
        """Its own graphs: the identity as folded kernels, and the IDN rewritten for inference."""
        return IDNDeployment(self)
