"""Options of verbs that work on files, drawn where these files are there, so that it is the options that are looked at.

Every option and every group of options is null once, and has other values that hardly fit.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from idn.cli.instantiate import register_resolvers
from idn.cli.options.composition import composed
from idn.errors import UserError
from idn.export.bench import bench
from idn.swap.drawn import draw_clip, draw_portrait
from tests.fuzz.test_options import VALUES
from tests.fuzz.test_verbs import ALIGN, STUDENT, command

YUNET = Path(__file__).parents[2] / "../shared/weights/yunet_final.pth"
SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1"]
SWAP = ["swap", "weights=run/student.safetensors", "source=face.png", "drawn=true", f"detector.weights={YUNET}"]
EVAL = ["eval", "students=run/student.safetensors", "protocol.size=32", "protocol.pairs=4", "landmarks=null", "batch=4"]
EXPORT = ["export", "weights=run/student.safetensors", "aligned=true", "crops=1", "format=[safetensors]"]
SWEEP = ["train", "-m", *(word for word in STUDENT if "width" not in word), "student.width=0.25,0.5"]
MAKING = [
    ["train", *STUDENT, "hydra.run.dir=run"],
    [*SWEEP, "hydra.sweep.dir=sweep"],
    ["align", *ALIGN, "dst=crops", f"detector.weights={YUNET}"],
    [*EXPORT, "source=face.png", "out=export"],
    [*EVAL, "out=report"],
    [*EVAL, "out=again"],
]
"""What makes the files."""
CASES = {
    "swap a picture": [*SWAP, "target=face.png", "out=new.png"],
    "swap a video": [*SWAP, "target=clip.mp4", "out=new.mp4", "runtime=torch"],
    "swap a crop": ["swap", "weights=run/student.safetensors", "source=face.png", "aligned=true", "target=face.png"],
    "demo": ["demo", "students=run/student.safetensors", "port=0"],
    "eval": [*EVAL, "out=new"],
    "compare": ["compare", "reports=[report,again]"],
    "faces": ["faces", "photos=face.png", f"detector.weights={YUNET}"],
    "triplets of people": ["triplets", "dst=new", "people=1", "size=64", "workers=0", "drawn.pictures=1"],
    "triplets of crops": ["triplets", "dst=new", "src=crops", "size=64", "workers=0"],
    "align": ["align", *ALIGN, "dst=new", f"detector.weights={YUNET}"],
    "shards": ["shards", "src=crops", "dst=new"],
    "export a person": [*EXPORT, "source=face.png", "out=new"],
    "export for an app": [*EXPORT, "source=none", "out=new"],
    "bench": ["bench", "folder=export", "threads=1", "seconds=0.05", "rounds=1", "student.width=0.25"],
    "provenance": ["provenance", "files=[face.png]", "frames=2", "resized=false"],
    "rerun": ["rerun", "folder=run"],
    "sweep-report": ["sweep-report", "folder=sweep"],
    "import": ["import", "in=face.png", "out=new.safetensors"],
    "teachers": ["teachers", *SMALL, "check=procedural", "rounds=1"],
}
CASES["swap a crop"].append("out=new.png")
MORE = (
    "[null]",
    "1e9",
    "99999999999999999999",
    "face.png",
    "run",
    "[face.png]",
    "-0.5",
    "false",
    "nothing/there",
    "tpu",
)
"""Of the right kind for some options, and not for the place."""


def options_and_groups(config: DictConfig, before: str = "") -> Iterator[str]:
    """The names of all options, and of what holds several."""
    for key in map(str, config):
        node = config._get_node(key)
        if not key.startswith("_"):
            yield f"{before}{key}"
            if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
                yield from options_and_groups(node, f"{before}{key}.")


def stop(*_: object, **__: object) -> None:
    raise UserError("it was reached")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of CASES does its work."""
    if not YUNET.is_file():
        pytest.skip("needs yunet_final.pth")
    folder = tmp_path_factory.mktemp("ready")
    draw_portrait(folder / "face.png", 1)
    draw_clip(folder / "clip.mp4", 2, 0.2)
    (folder / "photos").mkdir()
    shutil.copy(folder / "face.png", folder / "photos/a.png")
    for words in MAKING:
        status, said = command(folder, *words)
        assert status == 0, (words, said)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings, measurements, downloads, servers and other programs are not begun."""
    monkeypatch.setattr(pl.Trainer, "fit", stop)
    monkeypatch.setattr(os, "execv", stop)
    monkeypatch.setattr(torch.hub, "download_url_to_file", stop)
    monkeypatch.setattr(bench, "measured", lambda request: bench.Outcome(1.0, 1.0, 1, None))
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: [one.close() for one in sockets])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_every_option_of_a_verb_that_has_its_files(
    name: str, ready: Path, draw: random.Random, quick: None, tmp_path: Path
) -> None:
    verb, *words = CASES[name]
    register_resolvers()
    for option in options_and_groups(composed(verb, words)[0]):
        for value in ("null", *draw.sample([*VALUES, *MORE], 3)):
            if value == "/":
                continue
            folder = tmp_path / "in/it"  # values such as ../.. stay in the folder of the test
            shutil.copytree(ready, folder, copy_function=os.link)
            others = [word for word in words if word.partition("=")[0] != option]
            typed = [verb, *others, f"{option}={value}"]
            try:
                status, said = command(folder, *typed)
            except Exception as error:
                pytest.fail(f"idn {' '.join(typed)}: {type(error).__name__}: {error}")
            assert "Traceback" not in said and status in (0, 1, 2), f"idn {' '.join(typed)}: {said}"
            refused = any(line.startswith("idn: ") for line in said.splitlines())
            assert refused or (status == 0) or verb in ("faces", "provenance"), f"idn {' '.join(typed)}: {said}"
            shutil.rmtree(folder)
