import hashlib

import pytest
import torch
from torch import Tensor, nn

from idn.errors import DamagedFile, EncoderMismatch, ForeignFile, MissingFile, OptionError
from idn.geometry.affine import invert_affine
from idn.geometry.templates import between_templates
from idn.geometry.warping import realign, warp
from idn.images import IMAGENET_MEAN, IMAGENET_STD, normalize
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import verify_file
from tests.raising import raises


def record(target: FaceInput, source: SourceInput | None = None, **changes) -> TeacherRecord:
    fields = {"name": "test", "licence": "Apache-2.0", "commercial": True}
    return TeacherRecord(target=target, source=source or SourceInput("nothing"), **(fields | changes))


def pair(n: int = 2, size: int = 64, dim: int = 8) -> tuple[SwapBatch, IdentityFeatures]:
    g = torch.Generator().manual_seed(3)
    small = torch.rand(2 * n, 3, 8, 8, generator=g)
    images = nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)
    same = torch.zeros(n, dtype=torch.bool)
    batch = SwapBatch(images[:n], images[n:], torch.ones(n, 1, size, size), same)
    embedding = nn.functional.normalize(torch.randn(n, dim, generator=g), dim=1)
    return batch, IdentityFeatures(embedding, torch.zeros(n, 4, 2, 2), (torch.zeros(n, 4, 4, 4),))


class Darken(FrozenTeacher):
    """Multiplies what it sees, in its own numbers; remembers the sizes it saw."""

    def __init__(self, declared: TeacherRecord, crop_template: str | None, factor: float) -> None:
        super().__init__(declared, crop_template)
        self.net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.factor = factor
        self.seen: list[tuple[int, ...]] = []
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        self.seen.append(tuple(target.shape))
        assert len(batch.target) == len(source.embedding) == len(target)
        return target * self.factor


def test_no_resampling_when_size_and_template_are_those_of_the_crops():
    batch, source = pair()
    for declared in (FaceInput(), FaceInput(64, "ffhq")):
        torch.testing.assert_close(Darken(record(declared), "ffhq", 1.0)(batch, source), batch.target, rtol=0, atol=0)


def test_output_is_decoded_and_clamped():
    batch, source = pair()
    declared = FaceInput(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    same = Darken(record(declared, output_mean=IMAGENET_MEAN, output_std=IMAGENET_STD), "ffhq", 1.0)
    torch.testing.assert_close(same(batch, source), batch.target, rtol=0, atol=1e-6)
    raw = Darken(record(declared), "ffhq", 1.0)(batch, source)
    torch.testing.assert_close(raw, normalize(batch.target).clamp(0, 1))


def test_frozen_and_without_gradient():
    batch, source = pair()
    teacher = Darken(record(FaceInput()), "ffhq", 0.5)
    nn.ModuleList([teacher]).train()
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    target = batch.target.clone().requires_grad_(True)
    assert not teacher(batch._replace(target=target), source).requires_grad


def test_swap_is_seen_in_the_students_frame_and_the_rest_is_the_target():
    batch, source = pair(size=128)
    teacher = Darken(record(FaceInput(112, "arcface_112_v2")), "ffhq", 0.0)
    out = teacher(batch, source)
    assert teacher.seen == [(2, 3, 112, 112)]
    place = invert_affine(between_templates("ffhq", "arcface_112_v2"))
    inside = warp(torch.ones(2, 1, 112, 112), place, 128, "zeros")
    assert 0.3 < inside.mean() < 0.8
    outside = (inside == 0).expand_as(out)
    torch.testing.assert_close(out[outside], batch.target[outside], rtol=0, atol=0)
    assert out[:, :, 60:80, 58:70].max() < 1e-5


@pytest.mark.parametrize(("template", "crop_template"), [("ffhq", "arcface_112_v2"), ("arcface_112_v1", "ffhq")])
def test_what_was_cut_comes_back_to_its_place(template: str, crop_template: str) -> None:
    """A spot, far from the middle: the fit of one template to the other and the one back differ by up to 1.3 px."""
    size, places = 224, [(70.0, 80.0), (150.0, 80.0), (75.0, 150.0)]
    pixels = torch.arange(size) + 0.5
    spots = [torch.exp(-((pixels[None] - x).square() + (pixels[:, None] - y).square()) / 50) for x, y in places]
    target = torch.stack(spots)[:, None].repeat(1, 3, 1, 1)
    batch = SwapBatch(target, target, torch.ones(3, 1, size, size), torch.zeros(3, dtype=torch.bool))
    out = Darken(record(FaceInput(256, template)), crop_template, 1.0)(batch, pair(3)[1])[:, 0].double()
    mass = out.sum((1, 2))
    found = torch.stack([(out.sum(1) * pixels).sum(1) / mass, (out.sum(2) * pixels).sum(1) / mass], 1)
    torch.testing.assert_close(found, torch.tensor(places, dtype=torch.float64), atol=0.02, rtol=0)


def test_identity_swap_through_another_template_keeps_a_smooth_picture():
    batch, source = pair(size=128)
    out = Darken(record(FaceInput(256, "arcface_112_v1")), "ffhq", 1.0)(batch, source)
    assert (out - batch.target).abs().mean() < 5e-3


def test_strong_shrinking_averages():
    stripes = (torch.arange(512) % 2).float().expand(1, 3, 512, 512)
    small = FaceInput(112, "arcface_112_v2").cut(stripes, "ffhq")
    assert (small[..., 20:-20, 20:-20] - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("template", ["arcface_112_v1", "arcface_112_v2"])
def test_shrinking_keeps_what_the_smaller_crop_can_show(template):
    waves = (torch.linspace(0, 2 * torch.pi * 60, 512).sin() * 0.5 + 0.5).expand(1, 3, 512, 512)
    crop = FaceInput(224, template).cut(waves, "ffhq")[..., 40:-40, 40:-40]
    assert crop.std() > 0.85 * waves.std()


def test_one_face_at_a_time():
    batch, source = pair()
    together = Darken(record(FaceInput()), "ffhq", 0.5)
    alone = Darken(record(FaceInput(), batchable=False), "ffhq", 0.5)
    torch.testing.assert_close(together(batch, source), alone(batch, source))
    assert together.seen == [(2, 3, 64, 64)]
    assert alone.seen == [(1, 3, 64, 64)] * 2


def test_a_trainers_lower_precision_reaches_those_that_bear_it():
    class Product(Darken):
        def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
            self.product = target @ target.mT
            return target

    batch, source = pair()
    for full, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        teacher = Product(record(FaceInput(), full_precision=full), "ffhq", 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            assert teacher(batch, source).dtype == torch.float32
        assert teacher.product.dtype == dtype


def test_source_crop_is_normalised_as_declared():
    batch, _ = pair()
    crop = FaceInput(48, "arcface_112_v2", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    teacher = Darken(record(FaceInput(), SourceInput("image", crop)), "ffhq", 1.0)
    expected = realign(batch.source, "ffhq", "arcface_112_v2", 48) * 2 - 1
    torch.testing.assert_close(teacher.source_crop(batch), expected)


def test_embedding_of_another_recogniser_is_refused():
    batch, source = pair(dim=8)
    spec = SourceInput("shared_embedding", encoder="arcface", dim=512)
    with raises(EncoderMismatch, wanted="arcface", given="8 numbers"):
        Darken(record(FaceInput(), spec), "ffhq", 1.0)(batch, source)


def test_wrong_output_shape_is_a_program_error():
    class Half(Darken):
        def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
            return target[..., ::2]

    with raises(ValueError, "swap"):
        Half(record(FaceInput()), "ffhq", 1.0)(*pair())


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: FaceInput(size=0), "size"),
        (lambda: FaceInput(template="round"), "template"),
        (lambda: FaceInput(border="wrap"), "border"),
        (lambda: FaceInput(size=64.5), "size"),
        (lambda: FaceInput(mean=(0.5,)), "mean"),
        (lambda: FaceInput(mean=0.5), "mean"),
        (lambda: FaceInput(mean=("a", "b", "c")), "mean"),
        (lambda: FaceInput(std=(1, 0, 1)), "std"),
        (lambda: SourceInput("voice"), "kind"),
        (lambda: SourceInput("image"), "kind"),
        (lambda: SourceInput("nothing", FaceInput()), "kind"),
        (lambda: SourceInput("shared_embedding", encoder="x"), "kind"),
        (lambda: SourceInput("shared_embedding", dim=3), "encoder"),
        (lambda: record(FaceInput(), licence=""), "licence"),
        (lambda: record(FaceInput(), name=""), "name"),
        (lambda: record(FaceInput(), commercial="perhaps"), "commercial"),
        (lambda: record(FaceInput(), sha256="abc"), "sha256"),
        (lambda: Darken(record(FaceInput(64, "ffhq")), None, 1.0), "crop_template"),
        (lambda: Darken(record(FaceInput()), "round", 1.0), "crop_template"),
    ],
)
def test_impossible_declarations(make, argument):
    with raises(OptionError, argument=argument):
        make()


def test_lists_of_a_config_become_tuples():
    assert FaceInput(mean=[0, 0, 0], std=[1, 1, 1]) == FaceInput()


def test_verify_file(tmp_path):
    path = tmp_path / "weights.bin"
    with raises(MissingFile, path=path):
        verify_file(path, record(FaceInput()))
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    verify_file(path, record(FaceInput(), sha256=digest, file_bytes=3))
    with raises(DamagedFile, "3 bytes", "4 ", path=path):
        verify_file(path, record(FaceInput(), file_bytes=4))
    with raises(ForeignFile, path=path, found=digest):
        verify_file(path, record(FaceInput(), sha256="0" * 64))
