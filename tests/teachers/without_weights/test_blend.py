import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idn.geometry.templates import TEMPLATES, template_points
from idn.metrics.images import psnr
from idn.types import IdentityFeatures, SwapBatch
from teachers.without_weights.blend import BlendTeacher

REPOSITORY = Path(__file__).parents[3]
FACES, WEIGHTS = (REPOSITORY / "../shared" / name for name in ("data/faces", "weights/mobilefacenet.pt"))


def portraits(n: int, size: int, seed: int = 0) -> Tensor:
    """Smooth coloured clouds with fine grain: something to recolour and to blend."""
    g = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(n, 3, 5, 5, generator=g), (size, size), mode="bicubic")
    return (coarse + 0.1 * torch.rand(n, 3, size, size, generator=g)).clamp(0, 1)


def batch_of(source: Tensor, target: Tensor) -> SwapBatch:
    n, _, size, _ = target.shape
    return SwapBatch(source, target, torch.ones(n, 1, size, size), torch.zeros(n, dtype=torch.bool))


def swap(crop_template: str, batch: SwapBatch) -> Tensor:
    n = len(batch.target)
    return BlendTeacher(crop_template)(batch, IdentityFeatures(torch.zeros(n, 4), torch.zeros(n, 4, 2, 2)))


@pytest.mark.parametrize("crop_template", sorted(TEMPLATES))
@pytest.mark.parametrize("size", [64, 97, 128])
def test_shape_range_and_the_untouched_outside(crop_template, size):
    batch = batch_of(portraits(2, size, 0), portraits(2, size, 1))
    out = swap(crop_template, batch)
    assert out.shape == batch.target.shape
    assert out.min() >= 0
    assert out.max() <= 1
    mask = BlendTeacher(crop_template).inner_face(size)
    outside = (mask == 0).expand_as(out)
    assert 0.1 < outside.float().mean() < 0.95
    assert torch.equal(out[outside], batch.target[outside])
    assert (psnr(out, batch.target, mask.expand(2, 1, size, size)) < 30).all()


@pytest.mark.parametrize("crop_template", sorted(TEMPLATES))
def test_inner_face_holds_the_five_points_and_not_the_corners(crop_template):
    mask = BlendTeacher(crop_template).inner_face(128)[0, 0]
    for x, y in (template_points(crop_template) * 128).long().tolist():
        assert mask[y, x] > 0.95
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0


def test_nothing_changes_where_the_batch_forbids_it():
    batch = batch_of(portraits(1, 96, 0), portraits(1, 96, 1))
    face = batch.face.clone()
    face[..., :48] = 0
    out = swap("arcface_112_v2", batch._replace(face=face))
    assert torch.equal(out[..., :48], batch.target[..., :48])
    assert not torch.equal(out[..., 48:], batch.target[..., 48:])


def test_an_empty_face_returns_the_target():
    batch = batch_of(portraits(1, 64, 0), portraits(1, 64, 1))
    assert torch.equal(swap("ffhq", batch._replace(face=batch.face * 0)), batch.target)


def test_deterministic_and_independent_of_the_batch():
    batch = batch_of(portraits(3, 96, 0), portraits(3, 96, 1))
    together = swap("ffhq", batch)
    assert torch.equal(together, swap("ffhq", batch))
    alone = torch.cat([swap("ffhq", batch.take(slice(i, i + 1))) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_mixed_precision_changes_nothing():
    batch = batch_of(portraits(1, 96, 0), portraits(1, 96, 1))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = swap("ffhq", batch)
    assert torch.equal(mixed, swap("ffhq", batch))


def test_a_face_blended_into_itself_stays():
    image = portraits(1, 128)
    assert (swap("ffhq", batch_of(image, image)) - image).abs().max() < 2e-3


def test_the_face_takes_the_detail_of_the_source_and_the_colour_of_the_target():
    line = torch.linspace(0, 60, 128)
    grain = 0.1 * line.sin()[None, None, :, None].expand(1, 3, 128, 128)
    blue = torch.tensor([0.25, 0.35, 0.7]).view(1, 3, 1, 1)
    red = torch.tensor([0.7, 0.4, 0.3]).view(1, 3, 1, 1)
    target = (red + 0.1 * line.sin()).expand(1, 3, 128, 128)
    out = swap("arcface_112_v2", batch_of(blue + grain, target))
    core = out[0, :, 50:90, 50:78]
    torch.testing.assert_close(core.mean((1, 2)), red.flatten(), rtol=0, atol=0.05)
    assert core.mean(2).std(1).min() > 5 * core.mean(1).std(1).max()


def test_frozen():
    teacher = BlendTeacher("ffhq").train()
    assert not teacher.training
    assert teacher.record.commercial is True
    batch = batch_of(portraits(1, 64).requires_grad_(True), portraits(1, 64, 1).requires_grad_(True))
    assert not teacher(batch, IdentityFeatures(torch.zeros(1, 4), torch.zeros(1, 4, 2, 2))).requires_grad
    assert not teacher.state_dict()


@pytest.mark.skipif(not (FACES.exists() and WEIGHTS.exists()), reason="no ../shared faces and recogniser weights")
def test_real_faces_look_like_the_source(shared_faces):
    from idn.encoders.mobilefacenet import MobileFaceNetEncoder

    crop_template, (source, target) = "arcface_112_v2", shared_faces
    encoder = MobileFaceNetEncoder(WEIGHTS, crop_template)
    z_source, z_target, z_out = (
        encoder(x).embedding for x in (source, target, swap(crop_template, batch_of(source, target)))
    )
    to_source, to_target = ((z_out * z).sum(1).mean() for z in (z_source, z_target))
    assert to_source > 0.5
    assert to_source > to_target + 0.25


@pytest.fixture
def shared_faces() -> Tensor:
    """(2, 12, 3, 112, 112): the sources and targets of twelve pairs of frontal faces."""
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    from idn.geometry.affine import fit_similarity, transform_points
    from idn.geometry.warping import warp

    names = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
    wanted, crops = template_points("arcface_112_v2"), []
    with (FACES / "index.csv").open() as file:
        for row in csv.DictReader(file):
            image = pil_to_tensor(Image.open(FACES / row["file"]).convert("RGB"))[None].float() / 255
            side = min(image.shape[-2:])
            points = torch.tensor([[float(row[f"{p}_x"]), float(row[f"{p}_y"])] for p in names]).double()
            matrix = fit_similarity((points + 0.5) / side, wanted)
            error = (transform_points((points + 0.5) / side, matrix) - wanted).norm(dim=-1).max()
            if error < 0.02:
                crops.append(warp(image[..., :side, :side], matrix, 112))
            if len(crops) == 24:
                break
    return torch.cat(crops).unflatten(0, (2, 12))
