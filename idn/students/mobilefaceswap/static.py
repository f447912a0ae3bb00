"""The IDN of one identity: an ordinary convolutional network, nothing dynamic left in it."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from idn.images import to_01, to_pm1
from idn.students.mobilefaceswap.dynamic_weights import DynamicWeights
from idn.students.mobilefaceswap.injection import SLOPE
from idn.students.mobilefaceswap.network import IDN, FusionModule, Head


class StaticIDN(nn.Module):
    """What a phone runs, in the published order of operations, with BatchNorm folded into the convolutions.

    494,979 convolution weights and 305,722,368 multiply-accumulates per 224 px frame at width 1.
    """

    def __init__(self, encoder: list[nn.Module], decoder: list[nn.Module], head: nn.Module, fusion: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(decoder)
        self.head = head
        self.fusion = fusion

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """target: (N, 3, S, S) RGB in [0, 1], S % 32 == 0. Returns image (N, 3, S, S) and mask (N, 1, S, S), in [0, 1].

        The size is not checked, so that tracers see no branch.
        """
        x = to_pm1(target)
        maps = []
        for pair in self.encoder:
            x = pair(x)
            maps.append(x)
        mask = self.fusion(x)
        skips = maps[-2 : -1 - len(self.decoder) : -1]
        for index, pair in enumerate(self.decoder):
            x = pair(x)
            if index < len(skips):
                x = torch.cat([x, skips[index]], 1)
        generated = to_01(torch.tanh(self.head(x)))
        return mask * generated + (1 - mask) * target, mask


@torch.no_grad()
def bake(idn: IDN, weights: DynamicWeights) -> StaticIDN:
    """Freeze `weights` into a copy of `idn` that serves their identity alone; in eval mode, without gradients.

    Raises ValueError unless `weights` hold exactly one identity.
    """
    n = weights.scale[0].shape[0]
    if n != 1:
        raise ValueError(f"weights: expected one identity, got {n}")
    scales = zip(weights.pointwise, weights.scale, weights.demodulation, strict=True)
    kernels = [pointwise * scale * demodulation.mT for pointwise, scale, demodulation in scales]
    pairs = list(zip([k[0] for k in weights.depthwise], kernels, strict=True))
    encoder = [nn.Sequential(*_pair(*pair, stride=2)) for pair in pairs[: idn.stages]]
    decoder = [nn.Sequential(_upsample(), *_pair(*pair, stride=1)) for pair in pairs[idn.stages :]]
    own = copy.deepcopy(idn).eval()
    return StaticIDN(encoder, decoder, _head(own.head), _fusion(own.fusion)).requires_grad_(False).eval()


def _upsample() -> nn.Module:
    return nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True)


def _pair(depthwise: Tensor, pointwise: Tensor, stride: int) -> tuple[nn.Module, ...]:
    c_out, c_in = pointwise.shape
    first = nn.Conv2d(c_in, c_in, depthwise.shape[-1], stride, padding=1, groups=c_in, bias=False)
    second = nn.Conv2d(c_in, c_out, 1, bias=False)
    first.weight = nn.Parameter(depthwise.unsqueeze(1).clone())
    second.weight = nn.Parameter(pointwise[:, :, None, None].clone())
    return first, second, nn.LeakyReLU(SLOPE)


def _head(head: Head) -> nn.Module:
    reduce, conv1 = fuse_conv_bn_eval(head.reduce, head.norm1), fuse_conv_bn_eval(head.conv1, head.norm2)
    return nn.Sequential(_upsample(), reduce, nn.LeakyReLU(SLOPE), conv1, nn.LeakyReLU(SLOPE), head.conv2)


def _fusion(fusion: FusionModule) -> nn.Module:
    layers: list[nn.Module] = []
    for stage in fusion.stages:
        pointwise = fuse_conv_bn_eval(stage.pointwise, stage.norm)
        layers += [_upsample(), stage.depthwise, pointwise, nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, fusion.last, nn.Sigmoid())
