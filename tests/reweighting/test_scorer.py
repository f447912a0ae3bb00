"""The quality scorer's network, its file, and the trust that asks it."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from idn.errors import ForeignFile, MissingFile, OptionError, UnfitTensors
from idn.images import resize
from idn.reweighting.scorer import QualityScorer, ScorerNetwork, ScorerNotes, open_scorer, quality_trust, save_scorer
from idn.reweighting.trust import Trust
from tests.raising import raises

NOTES = ScorerNotes("snapshots", "own simswap", "CC0", "allowed", "idn train-scorer a=b", {"val/loss": 0.25})


@pytest.fixture(scope="module")
def network() -> ScorerNetwork:
    torch.manual_seed(0)
    return ScorerNetwork(32).eval()


@pytest.fixture
def path(network: ScorerNetwork, tmp_path: Path) -> Path:
    save_scorer(network, tmp_path / "scorer.safetensors", NOTES)
    return tmp_path / "scorer.safetensors"


def changed(path: Path, name: str, **notes: str | None) -> Path:
    """A copy of a scorer's file with other metadata; None removes an entry."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | notes
    save_file(load_file(path), path.with_name(name), {key: value for key, value in metadata.items() if value})
    return path.with_name(name)


def test_a_saved_scorer_comes_back_as_it_was(network: ScorerNetwork, path: Path) -> None:
    scorer = QualityScorer(path).train()
    images = torch.rand(3, 3, 48, 48)
    torch.testing.assert_close(scorer(images), network(images).detach())
    assert scorer(images).shape == (3,) and ((scorer(images) > 0) & (scorer(images) < 1)).all()
    assert scorer.notes == NOTES and scorer.kind == "snapshots" and scorer.size == 32
    assert not scorer.training and not any(p.requires_grad for p in scorer.parameters())


def test_opening_one_draws_no_random_numbers(path: Path) -> None:
    """So that students begin with the same weights, with and without it."""
    before = torch.get_rng_state()
    QualityScorer(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_are_brought_to_the_size_that_the_file_says(network: ScorerNetwork, path: Path) -> None:
    images = torch.rand(2, 3, 96, 96)
    scorer = QualityScorer(path)
    torch.testing.assert_close(scorer(images), scorer(resize(images, 32)))
    save_scorer(ScorerNetwork(64), path, NOTES)
    assert QualityScorer(path).size == 64


def test_the_published_working_size_is_the_default() -> None:
    assert ScorerNetwork().size == 224


@pytest.mark.parametrize(
    ("notes", "named"),
    [
        ({"format": None}, ""),
        ({"kind": None}, "kind"),
        ({"teacher_licence": None}, "teacher_licence"),
        ({"metrics": None}, "metrics"),
        ({"config": None}, "config"),
        ({"config": json.dumps({"backbone": "resnet18"})}, "size"),
        ({"config": json.dumps({"backbone": "resnet18", "size": "32"})}, ""),
        ({"config": json.dumps({"backbone": "resnet50", "size": 32})}, ""),
        ({"config": "{"}, ""),
        ({"config": "[1]"}, ""),
        ({"kind": "guesses"}, ""),
    ],
)
def test_a_file_that_does_not_say_everything_is_refused(notes: dict[str, str | None], named: str, path: Path) -> None:
    with raises(ForeignFile, named, path=path.with_name("changed.safetensors")):
        QualityScorer(changed(path, "changed.safetensors", **notes))


def test_tensors_are_read_strictly(network: ScorerNetwork, path: Path) -> None:
    tensors = network.net.state_dict()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    for fault, found in (
        ({key: value for key, value in tensors.items() if key != "fc.bias"}, {"missing": ["fc.bias"]}),
        (tensors | {"fc.bias": torch.zeros(2)}, {"misshaped": ["fc.bias"]}),
        (tensors | {"fc.more": torch.zeros(1)}, {"extra": ["fc.more"]}),
    ):
        save_file(fault, path, metadata)
        with raises(UnfitTensors, **found):
            QualityScorer(path)


def test_other_files_are_refused(network: ScorerNetwork, tmp_path: Path) -> None:
    torch.save(network.net.state_dict(), tmp_path / "plain.pth")
    with raises(ForeignFile, path=tmp_path / "plain.pth"):
        QualityScorer(tmp_path / "plain.pth")
    with raises(MissingFile, path=tmp_path / "nothing.safetensors"):
        QualityScorer(tmp_path / "nothing.safetensors")
    with raises(OptionError, argument="scorer"):
        quality_trust(None)


def test_opening_says_what_it_was_trained_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_scorer(path)
    said = capsys.readouterr().err
    assert "snapshots of own simswap" in said and "CC0" in said and len(said.splitlines()) == 1


def test_trust_takes_the_path_of_a_scorer(path: Path) -> None:
    trust, images = quality_trust(str(path)), torch.rand(3, 3, 32, 32)
    cosine = torch.tensor([0.5, -0.5, 1.0])
    assert isinstance(trust, Trust)
    torch.testing.assert_close(trust(cosine, images), torch.tensor([0.25, 0, 1]) * QualityScorer(path)(images))
    with raises(OptionError, "idn train-scorer", argument="scorer", value=None):
        quality_trust(None)


def test_training_can_start_from_a_file_of_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = timm.create_model("resnet18", num_classes=7).state_dict()
    save_file(classifier, tmp_path / "net.safetensors")
    tensors = ScorerNetwork(32, tmp_path / "net.safetensors").net.state_dict()
    assert all(torch.equal(tensors[key], value) for key, value in classifier.items() if not key.startswith("fc."))
    assert tensors["fc.weight"].shape == (1, 512)
    del classifier["layer1.0.conv1.weight"]
    save_file(classifier, tmp_path / "net.safetensors")
    with raises(UnfitTensors, "net.safetensors", missing=["layer1.0.conv1.weight"]):
        ScorerNetwork(32, tmp_path / "net.safetensors")


@pytest.mark.parametrize("size", [16, 64.0, "64"])
def test_impossible_sizes_are_refused(size: object) -> None:
    with raises(OptionError, argument="size"):
        ScorerNetwork(size)
