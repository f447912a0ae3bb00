import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from idn.encoders.trained import TrainedMobileFaceNet
from idn.export.converters.program import read_program, write_program
from idn.students.mobilefaceswap.dynamic_graph import dynamic
from idn.students.mobilefaceswap.static_graph import baked
from tests.export.conftest import student


def static() -> nn.Module:
    return student().bake(torch.randn(1, 16), torch.randn(1, 32, 7, 7))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        template = TrainedMobileFaceNet(None, crop_template="ffhq").net.template
        self.encoder = TrainedMobileFaceNet(None, crop_template=template)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(self.encoder(crop)[:2])


NETWORKS = {
    "static": lambda: (static(), (torch.rand(1, 3, 64, 64),)),
    "inference": lambda: (baked(static(), 64).module, (torch.rand(1, 3, 64, 64),)),
    "injection": lambda: (dynamic(student(), 64, True)[0].module, (torch.randn(1, 16), torch.randn(1, 32, 7, 7))),
    "swap": lambda: (dynamic(student(), 64, True)[1].module, (torch.rand(1, 3, 64, 64), torch.randn(1, 5328))),
    "encoder": lambda: (Encoder().eval(), (torch.rand(1, 3, 56, 56),)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("static", "swap") else name for name in NETWORKS]
)
def test_a_network_travels_unchanged(name: str, tmp_path: Path) -> None:
    network, inputs = NETWORKS[name]()
    write_program(network, inputs, tmp_path)
    with torch.no_grad():
        expected, found = network(*inputs), read_program(tmp_path)(*inputs)
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.json", "tensors.safetensors"]


class Plain(nn.Module):
    """One of everything that arguments can be."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor([1.0, 2.0, 3.0]))
        self.names = ("a", "b")

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split([1, 2], 1)
        wide = torch.full((2,), float("inf"), dtype=torch.float32, device=x.device)
        z = torch.where(torch.isinf(wide).all(), self.offset, -self.offset) + torch.tensor([0.5, 0.25, 0.125])
        return (z * y).to(torch.float16).float().clamp(max=4), torch.cat([second, first], dim=1).mean(dim=(0,))


def test_arguments_of_every_kind_travel(tmp_path: Path) -> None:
    inputs = torch.randn(2, 3), torch.randn(2, 3)
    write_program(Plain().eval(), inputs, tmp_path)
    for a, b in zip(Plain()(*inputs), read_program(tmp_path)(*inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_network_that_changes_itself_is_refused(tmp_path: Path) -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> tuple[Tensor]:
            self.calls.add_(1)
            return (x + self.calls,)

    with pytest.raises(ValueError, match="changes its own state"):
        write_program(Counter(), (torch.ones(1),), tmp_path)


@torch.library.custom_op("idn_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


twice.register_fake(torch.empty_like)


def test_a_call_that_is_no_aten_operator_is_refused(tmp_path: Path) -> None:
    class Foreign(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (twice(x),)

    class Shape(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)),)

    for network in (Foreign(), Shape()):
        with pytest.raises(ValueError, match="is no ATen operator"):
            write_program(network, (torch.ones(2),), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_network_itself_stays_as_it_was(tmp_path: Path) -> None:
    network = static()
    before = copy.deepcopy(network.state_dict())
    write_program(network, (torch.rand(1, 3, 32, 32),), tmp_path)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
