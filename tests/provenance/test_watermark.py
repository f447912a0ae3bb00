import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from idn.data.procedural import FaceRenderer
from idn.images import from_uint8, to_uint8
from idn.provenance.watermark import FOUND, LIMIT, evidence, mark


@pytest.fixture(scope="module")
def faces() -> Tensor:
    generator, renderer = torch.Generator().manual_seed(0), FaceRenderer()
    return renderer.render(renderer.sample_identity(6, generator), renderer.sample_attributes(6, generator), 256).image


def stored(images: Tensor, kind: str, quality: int) -> Tensor:
    read = []
    for image in to_uint8(images):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, kind, quality=quality)
        read.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return from_uint8(torch.stack(read))


def test_it_cannot_be_seen(faces):
    marked = mark(faces)
    assert -10 * (marked - faces).square().mean((1, 2, 3)).log10().max() > 45
    assert (marked - faces).abs().max() < LIMIT / 2
    assert marked.min() >= 0 and marked.max() <= 1


def test_it_is_found_and_nothing_else_is(faces):
    assert evidence(mark(faces)).min() > 1.5 * FOUND
    assert evidence(faces).max() < FOUND
    noise = torch.rand(4, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    assert evidence(noise).max() < FOUND


@pytest.mark.parametrize(
    "change",
    [
        lambda x: stored(x, "JPEG", 75),
        lambda x: stored(x, "WEBP", 80),
        lambda x: x[..., 13:, 21:-30],
        lambda x: stored(x[..., 5:, 3:], "JPEG", 80),
        lambda x: x * 0.7 + 0.1,
        lambda x: x.flip(1),
    ],
    ids=["jpeg", "webp", "crop", "crop and jpeg", "dimmed", "colours exchanged"],
)
def test_it_survives(faces, change):
    assert evidence(change(mark(faces))).min() > FOUND


def test_marking_twice_changes_little_more(faces):
    once = mark(faces)
    assert (mark(once) - once).abs().mean() < 0.3 * (once - faces).abs().mean()


@pytest.mark.parametrize("shape", [(7, 300), (9, 17), (64, 200)])
def test_odd_sizes(shape):
    images = torch.full((2, 3, *shape), 0.5)
    assert mark(images).shape == images.shape and evidence(images).shape == (2,)
