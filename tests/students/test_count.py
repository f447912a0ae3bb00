import torch
import torch.nn.functional as F
from torch import nn

from idn.students.count import conv_macs, conv_weights, parameters


def test_counts_by_hand():
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 8, 1, stride=2),
        nn.ConvTranspose2d(8, 3, 2, stride=2),
    )
    grouped, strided, transposed = 6 * 2 * 9, 8 * 6, 8 * 3 * 4
    assert conv_weights(net) == grouped + strided + transposed
    assert parameters(net) == grouped + 6 + 12 + strided + 8 + transposed + 3
    macs = grouped * 10 * 12 + strided * 5 * 6 + transposed * 5 * 6
    assert conv_macs(net, torch.zeros(1, 4, 10, 12)) == macs
    assert conv_macs(net, torch.zeros(3, 4, 10, 12)) == 3 * macs


def test_a_module_that_runs_twice_counts_twice():
    conv = nn.Conv1d(2, 2, 1)
    net = nn.Sequential(conv, conv)
    assert conv_macs(net, torch.zeros(1, 2, 5)) == 2 * 4 * 5


def test_functional_convolutions_count_and_matrix_products_do_not():
    class Dynamic(nn.Module):
        def forward(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, kernel).flatten(1) @ torch.ones(16, 2)

    assert conv_macs(Dynamic(), torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 1, 1)) == 3 * 16
    assert conv_macs(nn.Linear(4, 4), torch.zeros(1, 4)) == 0
