"""recogniser=: an encoder that only validates, chosen like the one that teaches."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

import idn
from idn.cli import conf_dir
from idn.encoders.mobilefacenet import MobileFaceNet
from idn.encoders.trained import BUNDLED, BUNDLED_RECOGNISER, ProceduralRecogniser, TrainedMobileFaceNet, save_trained
from idn.errors import UserError

SMALL = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
ENCODERS = sorted(path.stem for path in (conf_dir() / "encoder").glob("*.yaml"))


@pytest.fixture
def other(tmp_path: Path) -> str:
    save_trained(MobileFaceNet(0.125, 16, 32, "ffhq", "ffhq"), tmp_path / "other.safetensors", "MIT", "test", {})
    return f"recogniser.weights={tmp_path / 'other.safetensors'}"


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "procedural"])
def test_every_encoder_can_judge(name: str) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"recogniser={name}", f"encoder={name}"])
    assert cfg.recogniser == cfg.encoder


@pytest.mark.parametrize("verb", ["train", pytest.param("train-teacher", marks=pytest.mark.slow)])
def test_a_run_begins_the_same_with_a_recogniser_and_without(verb: str, other: str) -> None:
    words = [word for word in SMALL if verb == "train" or not word.startswith("student")]
    plain, _ = idn.build(verb, [*words, "recogniser=null"])
    judged, _ = idn.build(verb, [*words, "recogniser=trained", other])
    assert plain.recogniser is None and isinstance(judged.recogniser, TrainedMobileFaceNet)
    assert not any(parameter.requires_grad for parameter in judged.recogniser.parameters())
    ours = {key: value for key, value in judged.state_dict().items() if not key.startswith("recogniser.")}
    assert ours.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in ours.items())


@pytest.mark.parametrize("verb", ["train", "train-teacher"])
def test_procedural_runs_have_a_recogniser_of_their_own(verb: str) -> None:
    module, _ = idn.build(verb, ["data.size=32", "data.batch=2", "trainer.accelerator=cpu"])
    assert isinstance(module.recogniser, ProceduralRecogniser)


def test_a_recogniser_of_drawn_faces_says_nothing_of_photographs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        Image.new("RGB", (32, 32), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    words = ["data=faces", f"data.root={tmp_path}", "data.stored_template=ffhq", "encoder.photographs=true"]
    for recogniser, kept in (
        (["recogniser=procedural"], False),
        (["recogniser=trained", f"recogniser.weights={BUNDLED_RECOGNISER}"], True),
    ):
        module, _ = idn.build("train", [*SMALL, *words, "teacher=target_itself", *recogniser])
        assert (module.recogniser is not None) == kept
        assert ("the recogniser knows drawn faces only" in capsys.readouterr().err) != kept


def test_the_encoder_that_teaches_is_refused_as_judge() -> None:
    with pytest.raises(UserError, match="has the weights of the encoder that teaches, MobileFaceNet procedural_"):
        idn.build("train", [*SMALL, "recogniser=trained", f"recogniser.weights={BUNDLED}"])
