import pytest
import torch

from idn.data.augment import Augment
from idn.errors import OptionError
from tests.raising import raises

OFF = dict.fromkeys(
    ["flip", "degrees", "shift", "scale", "brightness", "contrast", "saturation", "tint", "blur", "noise", "jpeg"], 0.0
)
STRONG = Augment(0.5, 20.0, 0.1, 0.2, 0.3, 0.3, 0.3, 0.1, 1.0, 1.0, 1.0)


def pictures(n: int = 4, size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright disc on dark ground, off the middle, and the mask of the disc."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    disc = ((x - 0.35) ** 2 + (y - 0.6) ** 2 < 0.04).float().expand(n, 1, size, size)
    tones = torch.tensor([0.9, 0.6, 0.5]).view(1, 3, 1, 1)
    return disc * tones + (1 - disc) * 0.1, disc.clone()


def test_all_off_changes_nothing() -> None:
    images, masks = pictures()
    out, moved = Augment(**OFF)(images, masks, 3)
    torch.testing.assert_close(out, images, atol=1e-6, rtol=0)
    assert torch.equal(moved, masks)


def test_same_seed_same_result_whatever_the_global_state() -> None:
    images, masks = pictures()
    first = STRONG(images, masks, 11)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    second, other = STRONG(images, masks, 11), STRONG(images, masks, 12)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_inputs_are_left_alone_and_ranges_kept() -> None:
    images, masks = pictures()
    before = images.clone()
    for seed in range(5):
        out, moved = STRONG(images, masks, seed)
        assert out.shape == images.shape and moved.shape == masks.shape
        assert out.min() >= 0 and out.max() <= 1 and moved.min() >= 0 and moved.max() <= 1
        assert torch.isfinite(out).all()
    assert torch.equal(images, before)


def test_every_image_is_changed_in_its_own_way() -> None:
    out, _ = STRONG(*pictures(4), 0)
    assert all((out[i] - out[j]).abs().mean() > 1e-3 for i in range(4) for j in range(i))


def test_flip_takes_image_and_mask_together() -> None:
    images, masks = pictures(32)
    out, moved = Augment(**(OFF | {"flip": 0.5}))(images, masks, 0)
    flipped = (moved == masks.flip(-1)).flatten(1).all(1)
    assert 5 < int(flipped.sum()) < 27
    torch.testing.assert_close(out[flipped], images[flipped].flip(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[~flipped], images[~flipped], atol=1e-6, rtol=0)


def test_mask_follows_the_disc_through_every_motion() -> None:
    images, masks = pictures(8)
    out, moved = Augment(**(OFF | {"flip": 0.5, "degrees": 25.0, "shift": 0.1, "scale": 0.2}))(images, masks, 5)
    assert (moved - masks).abs().mean() > 0.02
    assert ((out[:, :1] - 0.1) / 0.8 - moved).abs().max() < 1e-4


@pytest.mark.parametrize("name", sorted(OFF))
def test_each_strength_has_an_effect(name: str) -> None:
    images, _ = pictures()
    value = {"degrees": 20.0, "flip": 1.0, "blur": 1.0, "noise": 1.0, "jpeg": 1.0}.get(name, 0.2)
    out, none = Augment(**(OFF | {name: value}))(images, None, 1)
    assert none is None
    assert (out - images).abs().mean() > 1e-4


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"scale": 1.0}, {"noise": -0.1}, {"degrees": 200.0}])
def test_impossible_strengths_are_refused(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with raises(OptionError, argument=name, value=value):
        Augment(**(OFF | wrong))
