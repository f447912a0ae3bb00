import torch
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


def test_a_module_that_runs_twice_counts_twice_and_keeps_no_hook():
    conv = nn.Conv1d(2, 2, 1)
    net = nn.Sequential(conv, conv)
    assert conv_macs(net, torch.zeros(1, 2, 5)) == 2 * 4 * 5
    assert not conv._forward_hooks
