import csv
import errno
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data.alignment import workers as aligner
from idn.data.alignment.align import align_folder
from idn.data.alignment.crop import UnusableLandmarks, cut_crop
from idn.data.alignment.detector import Detector, Face, YuNetDetector
from idn.data.alignment.manifest import NAME, read_manifest
from idn.errors import DamagedFile, OptionError, UserError
from idn.files.photos import UnreadablePhoto, list_photos, read_photo, write_photo
from idn.geometry.affine import transform_points
from idn.geometry.templates import TEMPLATES, template_points
from idn.geometry.warping import paste
from idn.images import from_uint8
from tests.bars import open_bars
from tests.raising import raises

SHARED = Path(__file__).parents[3] / "../shared"
needs_faces = pytest.mark.skipif(
    not (SHARED / "data/faces/index.csv").is_file() or not (SHARED / "weights/yunet_final.pth").is_file(),
    reason="the shared portraits and detector weights are not here",
)


def similarity(angle: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    a = torch.tensor(angle, dtype=torch.float64)
    linear = scale * torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
    return torch.cat([linear, torch.tensor(shift, dtype=torch.float64)[:, None]], 1)


def dotted_photo(height: int, width: int, points: torch.Tensor, radius: float) -> torch.Tensor:
    """Black, with one bright dot per point; the dot's colour channel tells eyes (R), nose (G) and mouth (B) apart."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    photo = torch.zeros(3, height, width)
    for channel, (px, py) in zip((0, 0, 1, 2, 2), points.tolist(), strict=True):
        dot = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2))
        photo[channel] = torch.maximum(photo[channel], dot)
    return (photo * 255).round().to(torch.uint8)


def centroid(channel: torch.Tensor, near: torch.Tensor, reach: float) -> torch.Tensor:
    size = channel.shape[-1]
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    weight = channel * ((x - near[0]).abs() < reach) * ((y - near[1]).abs() < reach)
    return torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


class Stub:
    """Finds a face in the middle of everything that is not black, and `extra` smaller ones beside it."""

    def __init__(self, extra: int = 0, stop_after: int | None = None) -> None:
        self.extra, self.stop_after, self.calls = extra, stop_after, 0

    def __call__(self, photo: torch.Tensor) -> list[Face]:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        if photo.max() == 0:
            return []
        side = min(photo.shape[-2:]) * 0.5
        points = template_points("arcface_112_v2") * side + side / 2
        box = torch.tensor([0.5, 0.5, 1.5, 1.5], dtype=torch.float64) * side
        face = Face(box, points, 0.9)
        return [face] + [face._replace(box=box / 4)] * self.extra


def giving(detector: Detector) -> Callable[[], Detector]:
    """What makes that detector."""
    return lambda: detector


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two people with two pictures each, one black picture, one damaged, one tiny."""
    root = tmp_path / "photos"
    torch.manual_seed(0)
    for name, size in {"a/1.png": 200, "a/2.JPG": 220, "b/1.png": 240, "b/deep/2.webp": 200, "tiny.png": 40}.items():
        pixels = (torch.rand(3, size // 8, size // 8) * 200 + 50).to(torch.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((size, size)).save(root / name)
    Image.new("RGB", (100, 100)).save(root / "black.png")
    whole = (root / "a/2.JPG").read_bytes()
    (root / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("not a picture")
    (root / "._a.jpg").write_bytes(b"shadow")
    return root


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("face_px", [70.0, 400.0])
def test_crop_puts_landmarks_on_the_template(template: str, face_px: float) -> None:
    canvas = int(face_px * 3)
    points = transform_points(template_points("ffhq"), similarity(0.4, face_px * 2, (face_px * 1.0, face_px * 0.4)))
    photo = dotted_photo(canvas, canvas + 30, points, radius=face_px / 40)
    crop, landmarks, inside, matrix = cut_crop(photo, points, template, 128)
    wanted = template_points(template)
    assert crop.shape == (3, 128, 128) and crop.dtype == torch.uint8
    assert 0 < inside <= 1
    assert (landmarks - wanted).norm(dim=-1).max() < 0.035  # other templates differ by up to 3.7 px at 224
    found = [centroid(from_uint8(crop)[c], p, 0.06) for c, p in zip((0, 0, 1, 2, 2), landmarks, strict=True)]
    torch.testing.assert_close(torch.stack(found).double(), landmarks, atol=0.5 / 128, rtol=0)
    torch.testing.assert_close(transform_points(points, matrix), landmarks * 128)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, math.pi])
@pytest.mark.parametrize("shift", [(60.0, 40.0), (-30.0, 120.0)], ids=["inside", "partly outside"])
def test_a_crop_goes_back_where_it_was_cut(angle: float, shift: tuple[float, float]) -> None:
    y, x = torch.meshgrid(torch.arange(220), torch.arange(300), indexing="ij")
    photo = ((0.5 + 0.4 * torch.stack([torch.sin(x / 17), torch.cos(y / 23), torch.sin((x + y) / 29)])) * 255).byte()
    turn = similarity(angle, 120.0, (0.0, 0.0))
    middle = transform_points(torch.full((1, 2), 0.5, dtype=torch.float64), turn)[0]
    points = transform_points(template_points("ffhq"), turn) - middle + 60 + torch.tensor(shift)
    crop = cut_crop(photo, points, "ffhq", 256)
    again = paste(from_uint8(photo[None]), from_uint8(crop.image[None]), crop.matrix)
    assert (again - from_uint8(photo[None])).abs().max() < 0.02
    marked = paste(from_uint8(photo[None]), torch.ones(1, 3, 256, 256), crop.matrix)
    assert crop.inside * 120**2 * 0.8 < (marked > 0.95).all(1).sum() < crop.inside * 120**2 * 1.05


def test_crop_of_ffhq_points_in_ffhq_frame_is_the_photo() -> None:
    photo = (torch.rand(3, 64, 64) * 255).to(torch.uint8)
    crop, _, inside, _ = cut_crop(photo, template_points("ffhq") * 64, "ffhq", 64)
    assert inside == 1.0
    assert (crop.int() - photo.int()).abs().max() <= 1


def test_crop_averages_when_it_shrinks() -> None:
    photo = torch.zeros(3, 640, 640, dtype=torch.uint8)
    photo[:, ::2, ::2] = 255
    photo[:, 1::2, 1::2] = 255
    crop = cut_crop(photo, template_points("ffhq") * 640, "ffhq", 64).image
    assert (crop.float() - 127.5).abs().max() < 6


def test_crop_outside_repeats_the_border() -> None:
    photo = torch.full((3, 80, 100), 77, dtype=torch.uint8)
    crop, _, inside, _ = cut_crop(photo, template_points("ffhq") * 200 - 50, "ffhq", 64)
    assert inside == pytest.approx(80 * 100 / 200**2, abs=0.02)
    assert (crop == 77).all()


def test_align_folder_keeps_the_tree_and_records_everything(photos: Path, tmp_path: Path) -> None:
    report = align_folder(str(photos), str(tmp_path / "out"), giving(Stub(extra=1)), size=64)
    assert dict(report.counts) == {"ok": 4, "no_face": 1, "small": 1, "unreadable": 1}
    assert report.several == 5 and report.photos == 7 and report.resumed == 0
    settings, records = read_manifest(tmp_path / "out")
    assert (settings.template, settings.size) == ("ffhq", 64)
    assert {r.crop for r in records if r.crop} == {"a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/2.jpg"}
    assert list_photos(tmp_path / "out").names == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/deep/2.jpg"]
    record = next(r for r in records if r.photo == "b/1.png")
    assert (record.faces, record.face_px, record.box, record.score) == (2, 120.0, [60.0, 60.0, 180.0, 180.0], 0.9)
    assert (torch.tensor(record.landmarks) - template_points("ffhq")).norm(dim=-1).max() < 0.03
    assert next(r for r in records if r.photo == "broken.jpg").reason
    for crop in list_photos(tmp_path / "out").names:
        assert read_photo(tmp_path / "out" / crop).shape == (3, 64, 64)


def test_stopped_run_continues_without_loss_or_repetition(photos: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    align_folder(str(photos), str(whole), giving(Stub()), size=64)
    with pytest.raises(KeyboardInterrupt):
        align_folder(str(photos), str(parts), giving(Stub(stop_after=3)), size=64)
    rest = Stub()
    report = align_folder(str(photos), str(parts), giving(rest), size=64)
    assert report.resumed == 3 and rest.calls == 3  # six photographs can be read
    assert (parts / NAME).read_text() == (whole / NAME).read_text()
    idle = Stub()
    assert align_folder(str(photos), str(parts), giving(idle), size=64).resumed == 7 and idle.calls == 0


@pytest.mark.parametrize("cut", [1, 20])
def test_torn_last_line_is_removed_and_done_again(photos: Path, tmp_path: Path, cut: int) -> None:
    out = tmp_path / "out"
    align_folder(str(photos), str(out), giving(Stub()), size=64)
    whole = (out / NAME).read_bytes()
    (out / NAME).write_bytes(whole[:-cut])
    assert len(read_manifest(out)[1]) == 6
    assert align_folder(str(photos), str(out), giving(Stub()), size=64).resumed == 6
    assert (out / NAME).read_bytes() == whole


def test_damaged_middle_line_is_named(photos: Path, tmp_path: Path) -> None:
    align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    lines = (tmp_path / "out" / NAME).read_text().splitlines()
    lines[2] = lines[2][:-5]
    (tmp_path / "out" / NAME).write_text("\n".join(lines) + "\n")
    with raises(DamagedFile, "line 3", path=tmp_path / "out/manifest.jsonl"):
        align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)


def test_other_options_do_not_mix_into_a_begun_folder(photos: Path, tmp_path: Path) -> None:
    align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    for argument, value in {
        "size": 96,
        "template": "mtcnn",
        "min_face": 10,
        "picture_format": "png",
        "picture_quality": 50,
    }.items():
        with raises(OptionError, argument=argument, value=value):
            align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), **({"size": 64} | {argument: value}))
    (tmp_path / "photos2").mkdir()
    Image.new("RGB", (90, 90)).save(tmp_path / "photos2/a.png")
    with raises(OptionError, argument="src"):
        align_folder(str(tmp_path / "photos2"), str(tmp_path / "out"), giving(Stub()), size=64)


def test_another_option_of_the_detector_is_refused_by_name(photos: Path, tmp_path: Path) -> None:
    keen, plain = Stub(), Stub()
    keen.settings, plain.settings = {"longest": 640, "threshold": 0.6}, {"longest": 320, "threshold": 0.6}
    align_folder(str(photos), str(tmp_path / "out"), giving(plain), size=64)
    assert align_folder(str(photos), str(tmp_path / "out"), giving(plain), size=64).resumed == 7
    with pytest.raises(OptionError) as error:
        align_folder(str(photos), str(tmp_path / "out"), giving(keen), size=64)
    assert (error.value.argument, error.value.value, error.value.owner) == ("longest", 640, keen)


@needs_faces
def test_a_detector_with_other_weights_is_another_one(tmp_path: Path) -> None:
    plain, other = (YuNetDetector(str(SHARED / "weights/yunet_final.pth")) for _ in range(2))
    assert plain.settings == other.settings
    tensors = {key: value.clone() for key, value in plain.net.state_dict().items()}
    next(value for value in tensors.values() if value.is_floating_point()).add_(0.01)
    torch.save(tensors, tmp_path / "other.pth")
    changed = YuNetDetector(str(tmp_path / "other.pth"))
    assert {key for key, value in plain.settings.items() if changed.settings[key] != value} == {"weights"}


def test_full_disk_is_one_sentence_and_loses_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(path: Path, pixels: torch.Tensor, quality: int) -> bytes:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write_photo(path, pixels, quality)

    with monkeypatch.context() as patch:
        patch.setattr(aligner, "write_photo", write)
        with raises(OptionError, argument="dst", value=tmp_path / "out"):
            align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    assert align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64).counts["ok"] == 4


def test_failed_write_leaves_no_part_behind(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(OSError):
        write_photo(tmp_path / "x.png", torch.zeros(3, 4, 4, dtype=torch.uint8), 90)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_unusable_folders_and_options(photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").write_text("")
    src, out = str(photos), str(tmp_path / "out")
    with raises(OptionError, argument="src", value=tmp_path / "absent"):
        align_folder(str(tmp_path / "absent"), out, giving(Stub()))
    with raises(OptionError, argument="src", value=empty):
        align_folder(str(empty), out, giving(Stub()))
    for inside in (src, f"{src}/crops", str(tmp_path)):
        with raises(OptionError, argument="dst", value=inside):
            align_folder(src, inside, giving(Stub()))
    with raises(OptionError, argument="dst", value=tmp_path / "file/out"):
        align_folder(src, str(tmp_path / "file" / "out"), giving(Stub()))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("template", "upside_down"),
        ("picture_format", "gif"),
        ("picture_quality", 0),
        ("size", 15),
        ("size", None),
        ("min_face", -1),
    ],
)
def test_an_impossible_argument_is_named(photos: Path, tmp_path: Path, argument: str, value: object) -> None:
    with raises(OptionError, argument=argument, value=value):
        align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), **{argument: value})
    assert not (tmp_path / "out").exists()


POINTS = template_points("ffhq") * 100
CENTRED, ONE = POINTS - POINTS.mean(0), torch.ones((), dtype=torch.float64)
NOWHERE = {
    "in one place": torch.full((5, 2), 50.0, dtype=torch.float64),
    "nearly in one place": 50 + POINTS * 1e-4,
    "contradictory": 50 + CENTRED * torch.stack([-CENTRED[:, 1].square().sum() / CENTRED[:, 0].square().sum(), ONE]),
    "not finite": POINTS * torch.nan,
}


@pytest.mark.parametrize("points", NOWHERE.values(), ids=NOWHERE.keys())
def test_landmarks_that_show_no_face_are_refused(points: torch.Tensor) -> None:
    photo = torch.zeros(3, 100, 100, dtype=torch.uint8)
    with pytest.raises(UnusableLandmarks):
        cut_crop(photo, points, "ffhq", 32)


def test_a_photograph_whose_landmarks_show_no_face_is_passed_over(photos: Path, tmp_path: Path) -> None:
    class Confused(Stub):
        def __call__(self, photo: torch.Tensor) -> list[Face]:
            return [face._replace(landmarks=NOWHERE["in one place"]) for face in super().__call__(photo)]

    report = align_folder(str(photos), str(tmp_path / "out"), giving(Confused()), size=64)
    assert dict(report.counts) == {"no_face": 5, "small": 1, "unreadable": 1}
    assert report.examples["no_face"].reason == "the landmarks of the face do not show where it is"
    assert list_photos(tmp_path / "out").names == []


@pytest.mark.parametrize(("argument", "value"), [("longest", 32), ("threshold", 1.0), ("overlap", None)])
def test_an_impossible_argument_of_the_detector_is_named(argument: str, value: object) -> None:
    with raises(OptionError, argument=argument, value=value):
        YuNetDetector("nowhere.pth", **{argument: value})


def test_photos_that_differ_in_suffix_only_get_two_crops(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for name in ("x.png", "X.jpg", "y.png"):
        Image.new("RGB", (160, 160), (90, 90, 90)).save(root / name)
    align_folder(str(root), str(tmp_path / "out"), giving(Stub()), size=32, picture_format="png", min_face=10)
    assert list_photos(tmp_path / "out").names == ["X.jpg.png", "x.png.png", "y.png"]


CASES = SHARED / "cases"


def test_an_interrupted_run_says_how_far_it_came(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt) as stop:
        align_folder(str(photos), str(tmp_path / "out"), giving(Stub(stop_after=3)), size=64)
    assert stop.tb and open_bars() == 0
    said = capsys.readouterr().err
    assert "stopped: 3 of 7 photographs are done, the same command goes on with the others" in said


def test_a_link_to_a_folder_above_brings_no_copies(photos: Path, tmp_path: Path) -> None:
    (photos / "a/loop").symlink_to(photos, target_is_directory=True)
    (photos / "b/up").symlink_to(tmp_path, target_is_directory=True)
    (photos / "twice").symlink_to(photos / "b", target_is_directory=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (200, 200), (90, 90, 90)).save(elsewhere / "x.png")
    (photos / "linked").symlink_to(elsewhere, target_is_directory=True)
    report = align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    assert report.photos == 8 and report.counts["ok"] == 5
    assert "links that lead back: 3" in report.others


def test_what_is_not_looked_at_is_counted_by_ending(photos: Path, tmp_path: Path) -> None:
    for name in ("a/1.XCF", "2.xcf", "clip.mov", "README"):
        (photos / name).write_bytes(b"x")
    os.mkfifo(photos / "pipe.jpg")
    report = align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    assert report.photos == 7 and set(report.others) == {"2 .xcf", "1 .mov", "1 .txt", "1 .jpg", "1 without ending"}


def test_no_two_photographs_become_one_crop(tmp_path: Path) -> None:
    root, out = tmp_path / "photos", tmp_path / "out"
    root.mkdir()

    def add(*names: str) -> None:
        for name in names:
            Image.new("RGB", (160, 160), (90, len(list(root.iterdir())), 90)).save(root / name)

    for names in (["a.png"], ["A.jpg", "a.jpg.png"], ["a.webp", "b.png"]):
        add(*names)
        align_folder(str(root), str(out), giving(Stub()), size=32)
    crops = [record.crop for record in read_manifest(out)[1]]
    assert len(crops) == len({crop.casefold() for crop in crops}) == len(list_photos(out).names) == 5


def test_names_that_are_no_utf8_are_aligned_like_any_other(photos: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    os.rename(photos / "b/1.png", photos / odd)
    for _ in range(2):
        report = align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
        assert report.counts["ok"] == 4
    record = next(record for record in read_manifest(tmp_path / "out")[1] if record.photo == odd)
    assert (tmp_path / "out" / record.crop).is_file()


def test_a_crop_whose_name_cannot_be_is_passed_over(photos: Path, tmp_path: Path) -> None:
    os.rename(photos / "b/1.png", photos / f"{'n' * 251}.png")
    (photos / f"{'n' * 251}.jpg").write_bytes((photos / "a/2.JPG").read_bytes())
    (photos / "a/1.jpg").mkdir()
    (photos / "a/1.jpg/x.png").write_bytes((photos / "a/1.png").read_bytes())
    report = align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64)
    assert report.counts["unwritable"] == 3 and report.counts["ok"] == 3
    assert report.examples["unwritable"].reason


def test_a_large_photograph_is_taken_once_it_is_allowed(photos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    report = align_folder(str(photos), out, giving(Stub()), size=64, max_pixels=200 * 200)
    assert report.counts["large"] == 3 and report.counts["ok"] == 2
    assert report.examples["large"].reason == "it has 220 x 220 = 48400 pixels, more than max_pixels=40000"
    report = align_folder(str(photos), out, giving(Stub()), size=64)
    assert report.counts["ok"] == 4 and report.counts["large"] == 0 and report.resumed == 4


def test_landmarks_in_one_place_of_a_large_photograph_cost_no_memory() -> None:
    photo = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(3, 10_000, 20_000)
    apart = template_points("ffhq") * 50 * 20_000  # a crop 50 times as wide as the photograph
    crop = cut_crop(photo, apart, "ffhq", 64)
    torch.testing.assert_close(transform_points(apart, crop.matrix), template_points("ffhq") * 64)


@needs_faces
def test_a_huge_photograph_is_searched_in_a_copy_averaged_to_less(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    small = read_photo(SHARED / "data/faces/f0000.jpg")
    photo = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    usual = detector(small)[0]
    monkeypatch.setattr("idn.data.alignment.detector._HUGE", max(small.shape))
    huge = detector(photo)[0]
    torch.testing.assert_close(huge.landmarks, 2 * usual.landmarks)
    torch.testing.assert_close(huge.box, 2 * usual.box)


@needs_faces
@pytest.mark.slow
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turned_portraits_come_out_upright(tmp_path: Path, quarter_turns: int) -> None:
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    for name, _ in expected_faces(10):
        photo = read_photo(SHARED / "data/faces" / name)
        turned = photo.rot90(quarter_turns, (1, 2))
        before, after = (cut_crop(x, detector(x)[0].landmarks, "ffhq", 64).matrix for x in (photo, turned))
        angles = [math.degrees(math.atan2(m[1, 0], m[0, 0])) for m in (before, after)]
        assert abs((angles[1] - angles[0] - 90 * quarter_turns + 180) % 360 - 180) < 25, name


@needs_faces
def test_the_odd_files_that_failed_once(tmp_path: Path) -> None:
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    report = align_folder(str(CASES), str(tmp_path / "out"), giving(detector), size=96)
    assert report.counts["ok"] == 3
    upright, turned = (read_photo(tmp_path / f"out/{x}.jpg").float() for x in ("exif_width_as_text", "upside_down"))
    assert (upright - turned).abs().mean() < 8
    floats = torch.from_numpy(np.array(Image.open(CASES / "float_in_0_1.tif")))
    assert (read_photo(CASES / "float_in_0_1.tif") / 255 - floats).abs().max() < 0.003


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (900, 1), (3, 2)])
def test_a_picture_of_any_shape_can_be_searched(size: tuple[int, int], tmp_path: Path) -> None:
    if not (SHARED / "weights/yunet_final.pth").is_file():
        pytest.skip("the shared detector weights are not here")
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    assert detector(torch.zeros(3, *size, dtype=torch.uint8)) == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "I;16", "CMYK"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    if mode == "I;16":
        Image.fromarray((torch.full((8, 6), 200 * 256, dtype=torch.int32).numpy()).astype("uint16")).save(path)
    else:
        value = {"1": (255,) * 3}.get(mode, (200, 200, 200))
        Image.new("RGB", (6, 8), value).convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    pixels = read_photo(path)
    assert pixels.shape == (3, 8, 6) and pixels.dtype == torch.uint8
    assert (pixels.int() - (255 if mode == "1" else 200)).abs().max() <= 2


def test_transparent_parts_become_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "x.png")
    assert (read_photo(tmp_path / "x.png") == 128).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(tmp_path / "x.png", exif=exif)
    pixels = read_photo(tmp_path / "x.png")
    assert pixels.shape == (3, 8, 4) and pixels[0, 0, 3] == 255


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_damaged_files_are_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnreadablePhoto):
        read_photo(tmp_path / "x.png")


def test_unreachable_hub_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with raises(OptionError, argument="weights"):
        YuNetDetector()


def expected_faces(count: int) -> list[tuple[str, torch.Tensor]]:
    """Landmarks as seen in the image: the index calls the person's right eye `right_eye`, it lies on the left."""
    with (SHARED / "data/faces/index.csv").open() as lines:
        rows = list(csv.DictReader(lines))[: 10 * count : 10]
    order = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
    return [(r["file"], torch.tensor([[float(r[f"{k}_{axis}"]) for axis in "xy"] for k in order])) for r in rows]


@needs_faces
@pytest.mark.parametrize(("place", "typical"), [("alone", 0.05), ("small", 0.08), ("tight", 0.08)])
def test_detector_finds_landmarks_in_template_order(place: str, typical: float) -> None:
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    errors = []
    for name, points in expected_faces(12):
        photo = read_photo(SHARED / "data/faces" / name)
        shift = torch.zeros(2)
        if place == "small":
            photo = torch.nn.functional.pad(photo, (1500, 900, 700, 800), value=90)
            shift = torch.tensor([1500.0, 700.0])
        if place == "tight":
            (x0, y0), (x1, y1) = points.amin(0), points.amax(0)
            reach = float(max(x1 - x0, y1 - y0)) * 0.55
            left, top = max(0, int(x0 - reach)), max(0, int(y0 - reach))
            photo, shift = photo[:, top : int(y1 + reach), left : int(x1 + reach)], -torch.tensor([left, top])
        faces = detector(photo)
        assert faces, f"{name}: no face"
        errors.append(float(((faces[0].landmarks - points - shift).norm(dim=-1)).mean()) / faces[0].size)
    assert sorted(errors)[6] < typical and max(errors) < 0.25


@needs_faces
def test_aligned_portraits_have_their_eyes_in_place(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, _ in expected_faces(6):
        (tmp_path / "photos" / name).symlink_to((SHARED / "data/faces" / name).resolve())
    detector = YuNetDetector(str(SHARED / "weights/yunet_final.pth"))
    report = align_folder(str(tmp_path / "photos"), str(tmp_path / "out"), giving(detector), size=256)
    assert report.counts["ok"] == 6
    for line in (tmp_path / "out" / NAME).read_text().splitlines()[1:]:
        shift = torch.tensor(json.loads(line)["landmarks"]) - template_points("ffhq")
        assert shift[:2].norm(dim=-1).mean() < 0.07


@pytest.mark.parametrize("workers", [1, 3])
def test_several_processes_leave_the_same_folder(photos: Path, tmp_path: Path, workers: int) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    align_folder(str(photos), str(alone), giving(Stub()), size=64)
    report = align_folder(str(photos), str(together), giving(Stub()), size=64, workers=workers)
    assert dict(report.counts) == {"ok": 4, "no_face": 1, "small": 1, "unreadable": 1}
    files = [path.relative_to(alone) for path in alone.rglob("*") if path.is_file()]
    assert len(files) == 5 == len([path for path in together.rglob("*") if path.is_file()])
    assert all((alone / name).read_bytes() == (together / name).read_bytes() for name in files)


def test_several_processes_go_on_where_one_was_stopped(photos: Path, tmp_path: Path) -> None:
    align_folder(str(photos), str(tmp_path / "whole"), giving(Stub()), size=64)
    with pytest.raises(KeyboardInterrupt):
        align_folder(str(photos), str(tmp_path / "parts"), giving(Stub(stop_after=3)), size=64)
    assert align_folder(str(photos), str(tmp_path / "parts"), giving(Stub()), size=64, workers=2).resumed == 3
    assert (tmp_path / "parts" / NAME).read_text() == (tmp_path / "whole" / NAME).read_text()


def test_a_full_disk_is_one_sentence_whichever_process_finds_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(aligner, "write_photo", refuse)
    with raises(OptionError, argument="dst", value=tmp_path / "out"):
        align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64, workers=2)


def test_a_killed_process_is_one_sentence_and_loses_nothing(photos: Path, tmp_path: Path) -> None:
    class Greedy(Stub):
        def __call__(self, photo: torch.Tensor) -> list[Face]:
            if self.calls == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(photo)

    with pytest.raises(UserError, match=r"memory .* fewer workers$"):
        align_folder(str(photos), str(tmp_path / "out"), giving(Greedy()), size=64, workers=1)
    assert align_folder(str(photos), str(tmp_path / "out"), giving(Stub()), size=64).counts["ok"] == 4


def test_the_detector_is_made_only_when_all_else_can_work(photos: Path, tmp_path: Path) -> None:
    def make() -> Detector:
        raise AssertionError("too early")

    for options in ({"size": 15}, {"picture_format": "gif"}, {"workers": -1}, {"device": "nowhere"}):
        with pytest.raises(UserError):
            align_folder(str(photos), str(tmp_path / "out"), make, **options)
    align_folder(str(photos), str(tmp_path / "done"), giving(Stub()), size=64)
    with raises(OptionError, argument="size"):
        align_folder(str(photos), str(tmp_path / "done"), make, size=96)


def test_one_process_computes_in_one_thread(photos: Path, tmp_path: Path) -> None:
    class Watching(Stub):
        def __call__(self, photo: torch.Tensor) -> list[Face]:
            assert torch.get_num_threads() == 1
            return super().__call__(photo)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        align_folder(str(photos), str(tmp_path / "out"), giving(Watching()), size=64)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
