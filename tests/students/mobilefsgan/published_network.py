"""The published generator written down a second time, layer by layer, as functions of a dictionary of its tensors."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def published_weights(width: int = 64, embedding: int = 512, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the names and in the shapes of a saved generator, without the wrapper's prefix.

    The attention, which multiplies the maps by themselves, is weak: its maps would grow beyond all bounds.
    """
    rng, weights = np.random.default_rng(seed), {}

    def put(name: str, values: np.ndarray) -> None:
        weights[name] = torch.from_numpy(values.astype(np.float32))

    def conv(name: str, c_in: int, c_out: int, k: int, bias: bool) -> None:
        gain = 0.05 if name.endswith("attention") else 0.7
        put(f"{name}.weight", rng.normal(0, gain * (c_in * k * k) ** -0.5, (c_out, c_in, k, k)))
        if bias:
            put(f"{name}.bias", rng.normal(0, 0.1, c_out))

    def norm(name: str, affine: bool = True) -> None:
        if affine:
            put(f"{name}.weight", rng.uniform(0.5, 1.5, width))
            put(f"{name}.bias", rng.normal(0, 0.2, width))
        put(f"{name}.running_mean", rng.normal(0, 0.2, width))
        put(f"{name}.running_var", rng.uniform(0.5, 2, width))
        weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def attribute(name: str) -> None:
        norm(f"{name}.normalize")
        conv(f"{name}.conv1x1", width, width, 1, True)
        conv(f"{name}.conv3x3", width, width, 3, False)

    def identity(name: str) -> None:
        norm(f"{name}.normalize", affine=False)
        for linear in ("fc_mean", "fc_var"):
            put(f"{name}.{linear}.weight", rng.normal(0, 1, (width, embedding)))
            put(f"{name}.{linear}.bias", rng.normal(0, 0.2, width))
        conv(f"{name}.conv1x1", width, width, 1, True)
        conv(f"{name}.conv3x3", width, width, 3, False)

    def resampling(name: str, k: int) -> None:
        norm(f"{name}.normalize")
        conv(f"{name}.conv", width, width, k, False)

    conv("encoder_head.conv_image", 3, width, 3, True)
    conv("encoder_head.conv1x1", width, width, 1, True)
    conv("encoder_head.conv3x3", width, width, 3, False)
    for size in (256, 128, 64, 32, 16, 8):
        if size < 256:
            resampling(f"identity_encoder.down{size}", 4)
        identity(f"identity_encoder.b{size}_down")
    for size in (16, 32, 64):
        resampling(f"identity_encoder.up{size}", 3)
        identity(f"identity_encoder.b{size}_up")
    for size, count in ((256, 2), (128, 3), (64, 4)):
        if size < 256:
            resampling(f"attribute_encoder.downsample{size}", 4)
            resampling(f"decoder.up{2 * size}", 3)
        for number in range(1, count + 1):
            attribute(f"attribute_encoder.b{size}_{number}")
        for number in range(count + 1):
            conv(f"decoder.b{size}_{number}.conv_attention", width, 1, 1, True)
            attribute(f"decoder.b{size}_{number}.basic_block")
        conv(f"decoder.image{size}_output.conv", width, 3, 3, True)
    return weights


class PublishedGenerator:
    """Its inference. weights: as `published_weights` names them."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"), stride, padding)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var = (self.w[f"{name}.running_{what}"][None, :, None, None] for what in ("mean", "var"))
        x = (x - mean) / torch.sqrt(var + 1e-5)
        if f"{name}.weight" not in self.w:
            return x
        return x * self.w[f"{name}.weight"][None, :, None, None] + self.w[f"{name}.bias"][None, :, None, None]

    def attribute_block(self, name: str, x: Tensor) -> Tensor:
        x = self.conv(f"{name}.conv1x1", self.norm(f"{name}.normalize", x))
        return self.conv(f"{name}.conv3x3", leaky(x), padding=1)

    def identity_block(self, name: str, x: Tensor, z: Tensor) -> Tensor:
        mean, scale = (
            z @ self.w[f"{name}.{linear}.weight"].T + self.w[f"{name}.{linear}.bias"]
            for linear in ("fc_mean", "fc_var")
        )
        x = self.norm(f"{name}.normalize", x) * scale[:, :, None, None] + mean[:, :, None, None]
        return self.conv(f"{name}.conv3x3", leaky(self.conv(f"{name}.conv1x1", leaky(x))), padding=1)

    def down(self, name: str, x: Tensor) -> Tensor:
        return leaky(self.conv(f"{name}.conv", self.norm(f"{name}.normalize", x), 2, 1))

    def up(self, name: str, x: Tensor) -> Tensor:
        x = self.norm(f"{name}.normalize", x)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return leaky(self.conv(f"{name}.conv", F.pad(x, (1, 1, 1, 1), mode="reflect")))

    def encode_identity(self, x: Tensor, z: Tensor) -> Tensor:
        kept = {}
        for size in (256, 128, 64, 32, 16, 8):
            x = x if size == 256 else self.down(f"identity_encoder.down{size}", x)
            x = x + self.identity_block(f"identity_encoder.b{size}_down", x, z)
            kept[size] = x
        for size in (16, 32, 64):
            x = self.up(f"identity_encoder.up{size}", x) + kept[size]
            x = self.identity_block(f"identity_encoder.b{size}_up", x, z) + x
        return x

    def encode_attributes(self, x: Tensor) -> dict[str, Tensor]:
        maps = {"256_0": x}
        for size, count in ((256, 2), (128, 3), (64, 4)):
            if size < 256:
                x = maps[f"{size}_0"] = self.down(f"attribute_encoder.downsample{size}", x)
            for number in range(1, count + 1):
                x = maps[f"{size}_{number}"] = x + self.attribute_block(f"attribute_encoder.b{size}_{number}", x)
        return maps

    def __call__(self, targets: Tensor, z: Tensor) -> list[Tensor]:
        """targets: (N, 3, S, S) in [-1, 1]; z: (N, D). Pictures of S, S / 2 and S / 4 pixels in [-1, 1]."""
        start = leaky(self.conv("encoder_head.conv_image", targets, padding=1))
        who = self.conv("encoder_head.conv3x3", leaky(self.conv("encoder_head.conv1x1", start)), padding=1)
        x, maps, pictures = self.encode_identity(who, z), self.encode_attributes(start), []
        for size, count in ((64, 4), (128, 3), (256, 2)):
            x = x if size == 64 else self.up(f"decoder.up{size}", x)
            for number in range(count, -1, -1):
                name = f"decoder.b{size}_{number}"
                a = self.conv(f"{name}.conv_attention", x)
                mixed = a * x + (1 - a) * maps[f"{size}_{number}"]
                x = self.attribute_block(f"{name}.basic_block", mixed) + x
            pictures.insert(0, torch.tanh(self.conv(f"decoder.image{size}_output.conv", x, padding=1)))
        return pictures


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)
