import multiprocessing
import pickle
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from idn.data.alignment.manifest import ManifestWriter, Record, Settings
from idn.data.loaders import Endless
from idn.data.photo_folder import FaceFolder
from idn.data.photo_pairs import FaceSwaps, faces_data
from idn.data.shards import reader, write
from idn.data.shards.reader import ShardedCrops
from idn.data.shards.write import write_shards
from idn.errors import DamagedFile, OptionError
from idn.types import SwapBatch, join_batches
from tests.bars import open_bars
from tests.raising import raises

SIZE, PEOPLE = 32, 24


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """24 people with 2 photographs each, of one of which landmarks are known."""
    root = tmp_path / "crops"
    for person in range(PEOPLE):
        for number in range(2):
            path = root / f"p{person:02d}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 48), (person * 6 + 20, number * 20 + 20, 128)).save(path)
    points = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]
    with ManifestWriter(root, Settings("/photos", "ffhq", 48, 48, "png", 95)) as manifest:
        manifest.append(Record("x", "ok", crop="p03/1.png", landmarks=points))
    return root


@pytest.fixture
def shards(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in shards of about 5 people."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(write, "MEGABYTE", 10_000)
    write_shards(str(crops), str(tmp_path / "shards"), 1)
    return tmp_path / "shards"


@pytest.fixture
def stored(shards: Path) -> Iterator[str]:
    """A URL of these shards, in memory."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in shards.iterdir():
        memory.pipe(f"/set/{path.name}", path.read_bytes())
    yield "memory://set"
    memory.store.clear()


def equal(a: SwapBatch, b: SwapBatch) -> bool:
    """Whether two are the same; unknown landmarks are NaN in both."""
    return all(
        torch.equal(x.nan_to_num(-1), y.nan_to_num(-1)) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(a, b, strict=True)
    )


def who(image: torch.Tensor) -> int:
    return round((float(image[0].mean()) * 255 - 20) / 6)


def test_shards_are_tar_files_of_the_crops_as_they_were(crops: Path, shards: Path) -> None:
    paths = sorted(shards.glob("*.tar"))
    assert 3 < len(paths) < PEOPLE and {path.name for path in shards.iterdir()} - {p.name for p in paths} == {
        "index.safetensors"
    }
    content: dict[str, bytes] = {}
    people = []
    for path in paths:
        with tarfile.open(path) as tar:
            content |= {member.name: tar.extractfile(member).read() for member in tar}
            people.append({name.split("/")[0] for name in tar.getnames()})
    assert content == {str(p.relative_to(crops)): p.read_bytes() for p in crops.rglob("*.png")}
    assert sum(map(len, people)) == PEOPLE  # nobody is in two of them


def test_a_run_on_shards_shows_what_one_on_the_folder_shows(crops: Path, shards: Path, stored: str) -> None:
    folder, *others = (FaceSwaps(FaceFolder(str(root), SIZE, "arcface_112_v2")) for root in (crops, shards, stored))
    for other in others:
        assert other.folder.names[:] == folder.folder.names[:] and other.folder.index.facts == folder.folder.index.facts
        assert all(equal(folder[item], other[item]) for item in range(12))
        assert equal(pickle.loads(pickle.dumps(other))[5], folder[5])


def test_a_window_shows_few_shards_at_a_time_and_each_of_them_once_a_round(shards: Path) -> None:
    folder = FaceFolder(str(shards), SIZE, "ffhq")
    data = FaceSwaps(folder, "train", 0.2, seed=1, window=2)
    places = {person: int(folder.shards.shards()[photos[0]]) for person, photos in folder.identities.items()}
    shard_of = {int(name[1:]): shard for name, shard in places.items()}
    trained = {shard_of[int(folder.names[photos[0]][1:3])] for photos in data.people}
    shown = [
        {shard_of[who(image[0])] for image in (item.source, item.target)}
        for item in map(data.__getitem__, range(len(data)))
    ]
    windows: list[set[int]] = []
    for one in shown:
        if windows and len(windows[-1] | one) <= 2:
            windows[-1] |= one
        else:
            windows.append(set(one))
    assert len(windows) == -(-len(trained) // 2) and set().union(*windows) == trained
    assert sum(map(len, windows)) == len(trained)
    second = [data.windows.draw_from(len(data) + item)[0] for item in (0, len(data) - 1)]
    assert data.windows.draw_from(0)[0].begins.tolist() != second[0].begins.tolist() or len(windows) == 1
    assert not {who(data[item].source[0]) for item in range(len(data))} & {
        int(folder.names[photos[0]][1:3]) for photos in folder.split("val", 0.2)
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_goes_on_repeats_and_skips_no_sample(stored: str, workers: int) -> None:
    data = FaceSwaps(FaceFolder(stored, SIZE, "ffhq"), "train", 0.2, window=2)

    def batches(first: int, count: int, loaders: int) -> list[SwapBatch]:
        loader = DataLoader(data, 4, sampler=Endless(first), collate_fn=join_batches, num_workers=loaders)
        return list(islice(loader, count))

    whole = batches(0, 12, 0)
    parts = batches(0, 5, workers) + batches(5 * 4, 7, 2 - workers)  # stopped in the middle, with other workers after
    assert len(parts) == 12 and all(map(equal, whole, parts))


def test_processes_share_the_samples_without_overlap(shards: Path) -> None:
    data = faces_data(str(shards), SIZE, "ffhq", 4, 0, holdout=0.2, workers=0, window=2)

    class Trainer:
        accumulate_grad_batches, world_size, global_step = 1, 3, 2

    ranks = []
    for rank in range(3):
        data.trainer = Trainer()
        data.trainer.global_rank = rank
        sampler = iter(data.train_dataloader().sampler)
        ranks.append([next(sampler) for _ in range(8)])
    assert sorted(item for items in ranks for item in items) == list(range(24, 48))


def test_shards_behind_a_url_are_fetched_once_and_those_of_long_ago_make_room(
    stored: str, shards: Path, tmp_path: Path
) -> None:
    crops = ShardedCrops(stored)
    sizes = crops.sizes.tolist()
    crops.cache_bytes = sum(sizes[:2])
    kept = tmp_path / "cache/idn/shards"
    for shard in range(len(sizes)):
        crops.fetched(shard)
    assert {path.name for path in kept.rglob("*.tar")} == {write.shard_name(len(sizes) - n) for n in (1, 2)}
    (shards / "shard-00000.tar").unlink()
    fsspec.filesystem("memory").rm("/set/shard-00001.tar")
    crops.fetched(len(sizes) - 1)
    with pytest.raises(Exception, match=r"shard-00001\.tar is not there"):
        crops.fetched(1)


def test_loader_processes_share_one_copy(stored: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    crops = ShardedCrops(stored)
    processes = [context.Process(target=crops.fetched, args=(0,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    path = next((tmp_path / "cache/idn/shards").rglob("shard-00000.tar"))
    assert path.stat().st_size == crops.sizes[0]


def test_a_stop_closes_the_bar_and_leaves_no_index(crops: Path, tmp_path: Path, monkeypatch) -> None:
    def stopped(packing: object, name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write._Packing, "add", stopped)
    with pytest.raises(KeyboardInterrupt) as stop:
        write_shards(str(crops), str(tmp_path / "shards"))
    assert stop.tb and open_bars() == 0
    assert not list(tmp_path.glob("shards/*.safetensors"))


def test_damage_and_misuse_are_said(crops: Path, shards: Path, tmp_path: Path) -> None:
    with raises(OptionError, "holds shards", argument="dst"):
        write_shards(str(crops), str(shards))
    with raises(OptionError, argument="dst"):
        write_shards(str(crops), str(crops / "within"))
    with raises(OptionError, argument="src"):
        write_shards(str(tmp_path / "absent"), str(tmp_path / "new"))
    with raises(OptionError, "idn shards", argument="root"):
        ShardedCrops(tmp_path / "cache")
    with raises(OptionError, argument="window"):
        faces_data(str(crops), SIZE, "ffhq", 4, 0, holdout=0.2, workers=0, window=2)
    with raises(OptionError, argument="window", value=0):
        faces_data(str(shards), SIZE, "ffhq", 4, 0, holdout=0.2, workers=0, window=0)
    with raises(OptionError, argument="pose_difference"):
        faces_data(str(shards), SIZE, "ffhq", 4, 0, holdout=0.2, workers=0, window=2, pose_difference=10)
    last = sorted(shards.glob("*.tar"))[-1]
    last.write_bytes(last.read_bytes()[:700])
    found = ShardedCrops(shards)
    with raises(DamagedFile, last.name):
        found.content(found.index.names[-1])
    last.unlink()
    with pytest.raises(KeyError):
        found.content("p99/1.png")
    assert len(np.unique(reader.ShardedCrops(shards).shards())) > 3
