"""The moving average: a literal update, buffers, freezing."""

import pytest
import torch
from torch import nn

from idn.errors import OptionError
from idn.training.optimization.ema import MovingAverage
from tests.raising import raises


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_update_follows_the_warmed_up_decay() -> None:
    network = net()
    average = MovingAverage(network, 0.5)
    expected = network[0].weight.detach().clone()
    for count in range(1, 20):
        with torch.no_grad():
            network[0].weight.add_(1.0)
        decay = min(0.5, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
        average.update(network)
    torch.testing.assert_close(average.network[0].weight, expected)


def test_buffers_follow_and_nothing_trains() -> None:
    network = net().train()
    average = MovingAverage(network, 0.9).train()
    network(torch.randn(8, 3, 8, 8) + 5)
    average.update(network)
    assert average.network[1].running_mean.abs().sum() > 0
    assert average.network[1].num_batches_tracked == 1
    assert not average.network.training and not any(p.requires_grad for p in average.parameters())


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError):
        MovingAverage(net(), 0.9).update(nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize("decay", [-0.1, 1.0, None, [], "x"])
def test_decay_range(decay: object) -> None:
    with raises(OptionError, argument="ema_decay"):
        MovingAverage(net(), decay)


def test_it_goes_on_counting_after_a_checkpoint() -> None:
    network, average = net(), MovingAverage(net(), 0.999)
    for _ in range(3):
        average.update(network)
    other = MovingAverage(net(), 0.999)
    other.load_state_dict(average.state_dict())
    assert other.count == average.count == 3
    with torch.no_grad():
        network[0].weight.add_(1.0)
    average.update(network)
    other.update(network)
    assert torch.equal(other.network[0].weight, average.network[0].weight) and int(other.updates) == 4
