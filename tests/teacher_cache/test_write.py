"""Keeping a teacher's answers: what is written, that a stop at any moment changes nothing, and what is refused."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from idn.data.photo_pairs import faces_data
from idn.errors import DamagedFile, FileError, ForeignFile, OptionError, UserError
from idn.files.digests import weights_digest
from idn.images import from_uint8, to_uint8
from idn.metrics.images import psnr
from idn.teacher_cache import write as cache
from idn.teacher_cache.manifest import MANIFEST, CacheManifest, check_shards
from idn.teacher_cache.shards import PictureFormat, ShardReader
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

Make = Callable[..., Any]


class Brightness(nn.Module):
    """Scores a picture by its mean."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


class Negative(FrozenTeacher):
    """Answers with the negative of the target; stops with an error, or answers nonsense, when it was asked so often."""

    def __init__(self, fails_at: int | None = None, spoils: bool = False) -> None:
        record = TeacherRecord("negative", "CC-BY-NC-4.0", False, FaceInput(), SourceInput("nothing"), variant="b")
        super().__init__(record, crop_template=None)
        self.fails_at, self.spoils, self.asked = fails_at, spoils, 0
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        self.asked += 1
        if self.asked == self.fails_at:
            raise KeyboardInterrupt
        return target * float("nan") if self.spoils else 1 - target


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_shard_holds_pictures_cosines_and_colours_of_its_pairs(
    tmp_path: Path, make_cache: Make, make_module: Make, make_data: Make
) -> None:
    report = make_cache(tmp_path)
    module, data = make_module(), make_data()
    assert sorted(contents(tmp_path)) == [
        "cache.json",
        *(f"train-0000{k}.safetensors" for k in range(3)),
        "val-00000.safetensors",
    ]
    for shard, items, dataset in (("train-00001", (2, 3), data.train), ("val-00000", (0, 1), data.val)):
        kept = load_file(tmp_path / f"{shard}.safetensors")
        assert {key: (value.dtype, tuple(value.shape)) for key, value in kept.items() if key != "bytes"} == {
            "offsets": (torch.int64, (9,)),
            "cosine": (torch.float32, (8,)),
            "mean": (torch.float32, (8, 6)),
        }
        batches = [dataset[item] for item in items]
        truth = torch.cat([batch.truth for batch in batches])
        files = [kept["bytes"][a:b].numpy().tobytes() for a, b in zip(kept["offsets"], kept["offsets"][1:])]  # noqa: B905
        assert all(file.startswith(b"\x89PNG") for file in files) and kept["offsets"][-1] == len(kept["bytes"])
        pictures = torch.stack([PictureFormat("png").decode(file, 32) for file in files])
        assert torch.equal(pictures, to_uint8(truth))
        source = torch.cat([module.encoder(batch.source).embedding for batch in batches])
        cosine = (module.encoder(from_uint8(pictures)).embedding * source).sum(1)
        torch.testing.assert_close(kept["cosine"], cosine, rtol=0, atol=1e-5)
        sides = [torch.cat([getattr(b, side) for b in batches]).mean((2, 3)) for side in ("source", "target")]
        torch.testing.assert_close(kept["mean"], torch.cat(sides, 1))
    assert report.pairs == 28 and report.manifest.complete


@pytest.mark.parametrize("size", [0, -64, 2**40, "64", True])
def test_a_size_that_no_face_has_is_damage(size: object, tmp_path: Path, make_cache: Make) -> None:
    make_cache(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": size}))
    with raises(DamagedFile, "size cannot be", path=path):
        CacheManifest.read(tmp_path)


def test_the_manifest_says_what_was_kept(tmp_path: Path, make_cache: Make) -> None:
    make_cache(tmp_path, teacher=Negative(), pairs=18, options={"data": {"root": "faces", "batch": 4}, "pairs": 18})
    value = json.loads((tmp_path / "cache.json").read_text())
    assert value["teacher"] == {"name": "negative", "variant": "b", "licence": "CC-BY-NC-4.0", "commercial": False}
    assert value["encoder"]["name"] == "tiny" and value["encoder"]["embedding_dim"] == 8
    assert value["options"] == {"data": {"root": "faces", "batch": 4}, "pairs": 18}
    assert (value["format"], value["quality"], value["size"], value["template"]) == ("png", None, 32, "ffhq")
    assert (value["rows"], value["items"], value["shard_items"]) == (4, {"train": 5, "val": 2}, 2)
    assert [entry["pairs"] for entry in value["shards"].values()] == [8, 8, 4, 8]
    assert value["scored"] is False and value["version"] == 2 and value["seed"] == 0
    assert value["weights"] == {"teacher": weights_digest(Negative()), "scorer": None}
    for name, entry in value["shards"].items():
        assert entry["bytes"] == (tmp_path / name).stat().st_size and len(entry["sha256"]) == 64


@pytest.mark.parametrize(("kind", "quality"), [("png", None), ("webp", None), ("webp", 90), ("jpg", None)])
def test_the_error_of_the_format_is_that_of_the_pictures_as_read_back(
    kind: str, quality: int | None, tmp_path: Path, make_cache: Make, make_module: Make, make_data: Make
) -> None:
    manifest = make_cache(tmp_path, kind, quality).manifest
    batches = [part[item] for part, count in ((make_data().train, 5), (make_data().val, 2)) for item in range(count)]
    readers = [ShardReader(tmp_path, manifest, part) for part in ("train", "val")]
    kept = [reader.read(item) for reader in readers for item in range(len(reader))]
    pictures, truth = torch.cat([item.pictures for item in kept]), torch.cat([batch.truth for batch in batches])
    difference = (pictures - truth).abs()
    assert manifest.error.mean == pytest.approx(float(difference.mean()), rel=1e-4)
    assert manifest.error.max == pytest.approx(float(difference.max()), rel=1e-4)
    whole = psnr(pictures.flatten()[None, None, None], truth.flatten()[None, None, None])
    assert manifest.error.psnr == pytest.approx(float(whole), abs=1e-2)
    assert (manifest.error.max < 0.51 / 255) == (quality is None and kind != "jpg")
    encoder = make_module().encoder
    source = torch.cat([encoder(batch.source).embedding for batch in batches])
    cosine = (encoder(pictures).embedding * source).sum(1)
    torch.testing.assert_close(torch.cat([item.cosine for item in kept]), cosine, rtol=0, atol=1e-5)


def test_a_scorer_is_asked_about_the_pictures_as_read_back(tmp_path: Path, make_cache: Make) -> None:
    manifest = make_cache(tmp_path, "jpg", 50, scorer=Brightness()).manifest
    kept = ShardReader(tmp_path, manifest, "train").read(1)
    torch.testing.assert_close(kept.quality, kept.pictures.mean((1, 2, 3)))


def test_pictures_survive_without_loss_or_shrink(tmp_path: Path) -> None:
    noise = torch.randint(256, (3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for kind in ("png", "webp"):
        assert torch.equal(PictureFormat(kind).decode(PictureFormat(kind).encode(noise), 40), noise)
    for kind in ("webp", "jpg"):
        sizes = [len(PictureFormat(kind, quality).encode(noise)) for quality in (30, 60, 95)]
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert PictureFormat("jpg") == PictureFormat("jpg", 95)
    with raises(ValueError, "(41, 41)"):
        PictureFormat("png").decode(PictureFormat("png").encode(noise), 41)
    with pytest.raises(OSError):
        PictureFormat("png").decode(PictureFormat("jpg").encode(noise), 40)


@pytest.mark.parametrize(
    ("kind", "quality", "argument"),
    [
        ("gif", None, "format"),
        ("png", 90, "quality"),
        ("jpg", 0, "quality"),
        ("webp", "a", "quality"),
    ],
)
def test_impossible_formats(kind: str, quality: Any, argument: str) -> None:
    with raises(OptionError, argument=argument):
        PictureFormat(kind, quality)


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_run_that_was_stopped_is_continued_to_the_same_bytes(stop: int, tmp_path: Path, make_cache: Make) -> None:
    make_cache(tmp_path / "whole", teacher=Negative())
    with pytest.raises(KeyboardInterrupt):
        make_cache(tmp_path / "torn", teacher=Negative(fails_at=stop))
    second = Negative()
    report = make_cache(tmp_path / "torn", teacher=second)
    finished = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 3, 7: 3}[stop]
    assert report.resumed == finished and second.asked == {0: 7, 1: 5, 2: 3, 3: 2}[finished]
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")
    third = Negative()
    assert make_cache(tmp_path / "torn", teacher=third).resumed == 4 and third.asked == 0


def test_what_a_kill_leaves_behind_is_cleared_or_replaced(tmp_path: Path, make_cache: Make) -> None:
    make_cache(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "torn")
    folder = tmp_path / "torn"
    value = json.loads((folder / "cache.json").read_text())
    del value["shards"]["val-00000.safetensors"]  # killed after the shard got its name, before the manifest
    (folder / "cache.json").write_text(json.dumps(value | {"error": None}))
    (folder / ".cache.json.x1y2.draft").mkdir()
    (folder / ".cache.json.x1y2.draft" / "cache.json").write_text("{")
    (folder / ".train-00001.safetensors.x1y2.draft").mkdir()
    (folder / ".train-00001.safetensors.x1y2.draft" / "train-00001.safetensors").write_bytes(b"half")
    report = make_cache(folder)
    assert report.resumed == 3 and report.mended == []
    assert contents(folder) == contents(tmp_path / "whole")


def test_damaged_and_lost_shards_are_written_again(tmp_path: Path, make_cache: Make) -> None:
    make_cache(tmp_path)
    before = contents(tmp_path)
    damaged = bytearray(before["train-00000.safetensors"])
    damaged[-3] ^= 1
    (tmp_path / "train-00000.safetensors").write_bytes(damaged)
    (tmp_path / "train-00002.safetensors").unlink()
    report = make_cache(tmp_path)
    assert report.mended == ["train-00000.safetensors", "train-00002.safetensors"] and report.resumed == 2
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"options": {"data": {"batch": 5}}}, ["data.batch=4", "5"]),
        ({"options": {"data": {"batch": 4}, "pairs": 20}}, ["pairs=null", "20"]),
        ({"kind": "jpg"}, ["format=png", "jpg"]),
        ({"kind": "webp"}, ["format=png", "webp"]),
        ({"pairs": 40}, ["items.train=5", "10"]),
        ({"scorer": Brightness()}, ["scored=false", "true"]),
        ({"teacher": Negative()}, ["teacher.name=procedural", "negative"]),
    ],
)
def test_other_options_are_refused_by_name(
    changes: dict[str, Any], named: list[str], tmp_path: Path, make_cache: Make
) -> None:
    make_cache(tmp_path)
    before = contents(tmp_path)
    with raises(OptionError, *named, argument="out", value=tmp_path):
        make_cache(tmp_path, **changes)
    assert contents(tmp_path) == before


def test_other_weights_of_the_encoder_are_refused(tmp_path: Path, make_cache: Make, make_module: Make) -> None:
    make_cache(tmp_path)
    encoder = make_module().encoder
    nn.init.normal_(encoder.embed.weight)
    with raises(OptionError, "identity encoder tiny", argument="out", value=tmp_path):
        make_cache(tmp_path, encoder=encoder)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "full"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_a_disk_that_refuses_gets_one_sentence_and_keeps_what_is_finished(
    error: Exception, named: str, tmp_path: Path, make_cache: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(tmp_path / "whole")
    written = []

    def write(path: Path, rows: Any) -> None:
        if len(written) == 2:
            raise error
        written.append(path.name)
        original(path, rows)

    original = cache.write_shard
    monkeypatch.setattr(cache, "write_shard", write)
    with raises(UserError, f"out={tmp_path / 'torn'} ", named) as told:
        make_cache(tmp_path / "torn")
    assert "\n" not in str(told.value)
    manifest = CacheManifest.read(tmp_path / "torn")
    assert list(manifest.shards) == written and not manifest.complete
    with raises(FileError, path=tmp_path / "torn"):
        check_shards(tmp_path / "torn", manifest, True)
    monkeypatch.undo()
    assert make_cache(tmp_path / "torn").resumed == 2
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def test_impossible_requests_get_one_sentence(tmp_path: Path, make_cache: Make) -> None:
    (tmp_path / "file").write_text("")
    with raises(OptionError, argument="out", value=tmp_path / "file/below"):
        make_cache(tmp_path / "file" / "below")
    with raises(OptionError, argument="pairs", value=0):
        make_cache(tmp_path / "a", pairs=0)
    with raises(OptionError, argument="device", value="abacus"):
        make_cache(tmp_path / "b", device="abacus")
    with raises(UserError):
        make_cache(tmp_path / "c", teacher=Negative(spoils=True))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "cache.json").write_text('{"version": 3}')
    with raises(ForeignFile, "version 3", path=tmp_path / "d/cache.json"):
        make_cache(tmp_path / "d")
    (tmp_path / "d" / "cache.json").write_text('{"version": 2, "err')
    with raises(DamagedFile, path=tmp_path / "d/cache.json"):
        make_cache(tmp_path / "d")


def photographs(root: Path, people: int = 30) -> Path:
    """One flat folder of coloured squares."""
    root.mkdir()
    for person in range(people):
        Image.new("RGB", (48, 48), (person * 8, 255 - person * 8, 90 + 3 * person)).save(root / f"{person}.png")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_pairs_are_asked_about_in_batches_and_kept_one_by_one(workers: int, tmp_path: Path, make_cache: Make) -> None:
    root = str(photographs(tmp_path / "photos"))
    data = faces_data(root, 32, "ffhq", 3, 1, "ffhq", holdout=0.4, val_batches=2, workers=workers)
    teacher = Negative()
    manifest = make_cache(tmp_path / "kept", teacher=teacher, data=data, pairs=10).manifest
    assert manifest.rows == 1 and manifest.items == {"train": 10, "val": 6} and manifest.shard_items == 8
    assert teacher.asked == 3 + 1 + 2  # shards of 8, 2 and 6 samples, at most 3 at once
    reader = ShardReader(tmp_path / "kept", manifest, "train")
    for item in (9, 0, 7):
        torch.testing.assert_close(reader.read(item).pictures, 1 - data.train[item].target, rtol=0, atol=0.51 / 255)


def test_the_targets_of_one_source_are_kept_together(tmp_path: Path, make_cache: Make) -> None:
    given = {"holdout": 0.4, "val_batches": 2, "workers": 0, "targets_per_identity": 2}
    data = faces_data(str(photographs(tmp_path / "photos")), 32, "ffhq", 4, 1, "ffhq", **given)
    manifest = make_cache(tmp_path / "kept", teacher=Negative(), data=data, pairs=9).manifest
    assert manifest.rows == 2 and manifest.items == {"train": 5, "val": 4} and manifest.shard_items == 4
    for part, item in (("train", 4), ("val", 3)):
        pictures = ShardReader(tmp_path / "kept", manifest, part).read(item).pictures
        torch.testing.assert_close(pictures, 1 - getattr(data, part)[item].target, rtol=0, atol=0.51 / 255)


@pytest.mark.slow
def test_a_killed_process_is_continued_to_the_same_bytes(tmp_path: Path) -> None:
    options = ["pairs=160", "data.size=32", "data.batch=2", "data.val_batches=2", "shard=4"]

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "idn", "cache", f"out={out}", *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)

    torn = tmp_path / "torn"
    for moment in ("train-00001.safetensors", "train-00009.safetensors", "train-00017.safetensors"):
        process = start(torn)
        while process.poll() is None and not (torn / moment).exists():
            time.sleep(0.001)
        assert process.poll() is None, "killed too late"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not CacheManifest.read(torn).complete
    for out in (torn, tmp_path / "whole"):
        assert start(out).wait() == 0
    assert contents(torn) == contents(tmp_path / "whole")
