"""What is read from and written to stores by URL, as a user types it: shards, kept answers, weights, checkpoints."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from idn.data.alignment.manifest import ManifestWriter, Record, Settings
from idn.encoders.trained import BUNDLED

pytestmark = pytest.mark.slow

TINY = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
TINY += ["trainer.val_check_interval=2"]
PHOTOS = [*TINY, "data=shards", "data.workers=0", "encoder.photographs=true", "recogniser=null", "teacher=blend"]
SHARED = Path(__file__).parents[4] / "shared"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL under which a server on this machine gives the folder of the test."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *said: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """24 people with 2 photographs each."""
    root, points = tmp_path / "crops", [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]
    root.mkdir()
    with ManifestWriter(root, Settings("/photos", "ffhq", 48, 48, "png", 95)) as manifest:
        for person in range(24):
            for number in range(2):
                name = f"p{person:02d}/{number}.png"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (48, 48), (person * 6 + 20, number * 20 + 20, 128)).save(root / name)
                manifest.append(Record(name, "ok", crop=name, landmarks=points))
    return root


def trained(idn_cli, out: str, *words: str) -> dict[str, torch.Tensor]:
    """The student of a short run."""
    status, said, err = idn_cli("train", *words, f"hydra.run.dir={out}")
    assert status == 0, said + err
    return load_file(Path(out, "student.safetensors"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two students are equal, bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_shards_train_alike_from_wherever_they_come(idn_cli, crops: Path, web: str, memory) -> None:
    for place in ("shards", "memory://store/shards"):
        status, out, err = idn_cli("shards", "src=crops", f"dst={place}", "megabytes=1")
        assert status == 0 and "data=shards" in out, err
    run = [*PHOTOS, "trainer.max_steps=4"]
    at_home = trained(idn_cli, "a", *run, "data.root=shards")
    assert same(at_home, trained(idn_cli, "b", *run, "data.root=memory://store/shards"))
    assert same(at_home, trained(idn_cli, "c", *run, f"data.root={web}/shards"))
    half = trained(idn_cli, "d", *PHOTOS, "data.root=shards", "trainer.max_steps=2", "schedule.total_steps=4")
    rest = [f"resume={web}/d/checkpoints/last.ckpt", f"data.root={web}/shards"]
    assert same(at_home, trained(idn_cli, "e", *run, *rest)) and not same(at_home, half)


def test_a_folder_without_crops_is_told_by_the_name_of_its_option(idn_cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = idn_cli("shards", "src=empty", "dst=shards")
    assert status == 2 and "idn: src=empty holds no pictures" in err and not (tmp_path / "shards").exists()


def test_answers_and_weights_come_from_a_store(idn_cli, web: str, memory) -> None:
    memory.put_file(str(BUNDLED), "/store/encoder.safetensors")
    Path("encoder.safetensors").write_bytes(BUNDLED.read_bytes())
    status, _, err = idn_cli("cache", *TINY[:3], "out=kept", "pairs=8")
    assert status == 0, err
    memory.put("kept/", "/store/kept/", recursive=True)
    run = [*TINY, "teacher=cached", "trainer.max_steps=2"]
    at_home = trained(idn_cli, "a", *run, "teacher.path=kept")
    elsewhere = ["teacher.path=memory://store/kept", "encoder.weights=memory://store/encoder.safetensors"]
    assert same(at_home, trained(idn_cli, "b", *run, *elsewhere))
    assert same(at_home, trained(idn_cli, "c", *run, "teacher.path=kept", f"encoder.weights={web}/encoder.safetensors"))


def test_align_writes_shards_to_a_store(idn_cli, memory) -> None:
    portraits, weights = SHARED / "data/faces", SHARED / "weights/yunet_final.pth"
    if not portraits.is_dir() or not weights.is_file():
        pytest.skip("the shared portraits and detector weights are not here")
    photos = Path("photos")
    photos.mkdir()
    for path in sorted(path for path in portraits.rglob("*") if path.suffix in (".jpg", ".png"))[:6]:
        (photos / path.name).write_bytes(path.read_bytes())
    words = ["src=photos", "dst=crops", "size=64", "workers=0", f"detector.weights={weights}"]
    status, _, err = idn_cli("align", *words, "shards=memory://store/shards")
    assert status == 0 and memory.isfile("/store/shards/index.safetensors"), err
    status, _, err = idn_cli("align", *words, "shards=memory://store/shards")
    assert status == 2 and "shards=memory://store/shards" in err and "give a new folder" in err
