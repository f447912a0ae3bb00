"""GradedBatch pictures: stages of one training, and damage to a finished teacher's answers."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from idn.data.first_pairs import FirstPairs
from idn.data.loaders import SwapData
from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.errors import ForeignFile, OptionError, UserError
from idn.files.tensors import read_metadata
from idn.reweighting.graded.degradations import KINDS
from idn.reweighting.graded.sources import Degradations, Snapshots
from idn.types import IdentityFeatures, SwapBatch
from teachers.without_weights.procedural import ProceduralTeacher
from tests.raising import raises

CPU = torch.device("cpu")
NOTES = {"family": "simswap", "config": "{}", "size": "32", "template": "ffhq", "encoder": "mean"}


class Means(nn.Module):
    """An encoder that sees the mean colour."""

    def forward(self, images: Tensor) -> IdentityFeatures:
        return IdentityFeatures(images.mean((2, 3)), images)


class Record(NamedTuple):
    name: str


class Stage(nn.Module):
    """Paints the source's mean colour as strongly as its file says."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.fraction = float(read_metadata(weights)["fraction"])
        self.record = Record(f"stage {self.fraction}")

    def attach(self, data: SwapData, encoder: nn.Module) -> SwapData:
        if not isinstance(encoder, Means):
            raise UserError("trained with another encoder")
        return data

    def forward(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        return self.fraction * source.embedding[..., None, None].expand_as(batch.target)


class Painter(Stage):
    """A finished one, which wants data of its own."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.fraction, self.record = 1.0, Record("painter")

    def attach(self, data: SwapData, encoder: nn.Module) -> SwapData:
        return (
            super().attach(data, encoder).with_pairs(list(FirstPairs(data, "train", 4)), [*FirstPairs(data, "val", 4)])
        )


def stages(folder: Path, *fractions: str, **notes: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, fraction in enumerate(fractions):
        metadata = NOTES | {"fraction": fraction} | notes
        save_file({"x": torch.zeros(1)}, folder / f"{'_'.join([str(number), *notes.values()])}.safetensors", metadata)
    return folder


def test_stages_swap_the_same_pairs_and_are_labelled_with_their_share(tmp_path: Path, make_data) -> None:
    source = Snapshots(stages(tmp_path / "s", "1.0", "0.25", "0.5"), Stage)
    data = make_data()
    data = source.attach(data, Means(), CPU)
    pairs = [data.train[0], data.train[1]]
    made = list(source.make(pairs, "train"))
    assert source.levels == 3 and source.kind == "snapshots" and source.record.name == "stage 1.0"
    assert [one.grade for one in made] == [0.25, 0.5, 1.0, 0.25, 0.5, 1.0]
    assert [one.number for one in made] == [0, 0, 0, 1, 1, 1]
    for one in made:
        expected = one.grade * pairs[one.number].source.mean((2, 3), keepdim=True).expand_as(one.images)
        torch.testing.assert_close(one.images, expected)
        assert torch.equal(one.batch.target, pairs[one.number].target)
        assert one.labels is None, "the share itself is the label"


def test_nearness_is_measured_from_the_last_stage_inside_the_face(tmp_path: Path, make_data) -> None:
    source = Snapshots(stages(tmp_path / "s", "1.0", "0.25", "0.5"), Stage, "nearness", reach=0.4)
    data = make_data()
    data = source.attach(data, Means(), CPU)
    batch = data.train[0]
    made = list(source.make([batch], "train"))
    assert [one.grade for one in made] == [0.25, 0.5, 1.0]
    brightness = batch.source.mean((1, 2, 3))  # a stage paints its share of it, everywhere
    for one in made:
        expected = (1 - (1 - one.grade) * brightness / 0.4).clamp(0, 1)
        torch.testing.assert_close(one.labels, expected)
    assert len(made[0].labels.unique()) > 1 and made[-1].labels.tolist() == [1] * 4
    blind = next(iter(source.make([batch._replace(truth=None)], "train")))
    assert torch.equal(blind.labels, made[0].labels), "no truth is asked for"
    with raises(OptionError, argument="labels", value="nearness"):
        next(iter(source.make([batch._replace(face=torch.zeros_like(batch.face))], "train")))


def test_nearness_looks_inside_the_face_alone(tmp_path: Path, make_data) -> None:
    class Outside(Stage):
        def forward(self, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
            return torch.where(batch.face > 0, 0.5, self.fraction * torch.ones_like(batch.target))

    source = Snapshots(stages(tmp_path / "s", "1.0", "0.25"), Outside, "nearness")
    source.attach(make_data(), Means(), CPU)
    assert [one.labels.tolist() for one in source.make([make_data().train[0]], "train")] == [[1.0] * 4] * 2


def test_stages_are_introduced_to_the_encoder(tmp_path: Path, make_data) -> None:
    source = Snapshots(stages(tmp_path / "s", "1.0", "0.25"), Stage)
    with pytest.raises(UserError, match="another encoder"):
        source.attach(make_data(), nn.Identity(), CPU)


@pytest.mark.parametrize(
    ("fractions", "broken"),
    [
        ((), None),
        (("0.5",), None),
        (("0.5", "0.5"), None),
        (("0.5", "1.5"), "1.safetensors"),
        (("0.5", "nan"), "1.safetensors"),
        (("0.5", "half"), "1.safetensors"),
    ],
)
def test_folders_that_cannot_be_learned_from_are_refused(
    fractions: tuple[str, ...], broken: str | None, tmp_path: Path
) -> None:
    folder = stages(tmp_path / "s", *fractions)
    of_folder = raises(OptionError, argument="folder", value=folder)
    with raises(ForeignFile, path=folder / broken) if broken else of_folder:
        Snapshots(folder, Stage)


def test_unknown_labels_and_impossible_reaches_are_refused(tmp_path: Path) -> None:
    folder = stages(tmp_path / "s", "1.0", "0.25")
    for labels, reach, argument in (("truth", 0.25, "labels"), ("nearness", 0, "reach"), ("nearness", -1, "reach")):
        with raises(OptionError, argument=argument):
            Snapshots(folder, Stage, labels, reach)


def test_trainings_are_not_mixed_and_every_file_says_its_share(tmp_path: Path) -> None:
    stages(tmp_path / "s", "0.5", "1.0")
    stages(tmp_path / "s", "0.75", family="ghost")
    with raises(ForeignFile, "family", path=tmp_path / "s/0_ghost.safetensors"):
        Snapshots(tmp_path / "s", Stage)
    for folder, lengths in (("mixed", ("400", None)), ("other", ("400", "800"))):
        for fraction, length in zip(("0.5", "1.0"), lengths, strict=True):
            stages(tmp_path / folder, fraction, **({} if length is None else {"max_steps": length}))
        with raises(ForeignFile, "max_steps"):
            Snapshots(tmp_path / folder, Stage)
    stages(tmp_path / "equal", "0.5", "1.0", max_steps="400")
    assert Snapshots(tmp_path / "equal", Stage).levels == 2
    stages(tmp_path / "t", "0.5", "1.0")
    save_file({"x": torch.zeros(1)}, tmp_path / "t" / "2.safetensors", NOTES)
    with raises(ForeignFile, path=tmp_path / "t/2.safetensors"):
        Snapshots(tmp_path / "t", Stage)
    with raises(OptionError, argument="folder", value=tmp_path / "nowhere"):
        Snapshots(tmp_path / "nowhere", Stage)


def degradations(teacher: nn.Module | None = None, seed: int = 0, kinds: list[str] | None = None) -> Degradations:
    return Degradations(Painter() if teacher is None else teacher, list(KINDS) if kinds is None else kinds, 5, seed)


def test_every_answer_is_kept_and_spoiled_in_growing_strength(make_data) -> None:
    source, data = degradations(kinds=["noise", "target", "colour"]), make_data()
    own = source.attach(data, Means(), CPU)
    assert isinstance(own.train, list) and not isinstance(data.train, list), "what the teacher asked for, in a copy"
    made = list(source.make([own.val[0]], "val"))
    assert source.kind == "degradations"
    assert [one.grade for one in made] == [1, 0.75, 0.5, 0.25, 0] and {one.number for one in made} == {0}
    answer = source.teacher(data.val[0], Means()(data.val[0].source))
    torch.testing.assert_close(made[0].images, answer)
    assert all(((one.images - answer).abs().amax((1, 2, 3)) > 0.01).all() for one in made[1:])


def test_damage_is_drawn_from_the_seed_and_the_part(make_data) -> None:
    def worst(seed: int, part: str) -> Tensor:
        source, data = degradations(seed=seed), make_data()
        data = source.attach(data, Means(), CPU)
        return list(source.make([data.val[0]], part))[-1].images

    assert torch.equal(worst(0, "val"), worst(0, "val"))
    assert not torch.equal(worst(0, "val"), worst(0, "train")) and not torch.equal(worst(0, "val"), worst(1, "val"))


def test_a_stranger_is_what_the_teacher_makes_of_another_source(make_data) -> None:
    source, data = degradations(kinds=["stranger"]), make_data()
    data = source.attach(data, Means(), CPU)
    batch = data.val[0]._replace(face=torch.ones(4, 1, 32, 32))
    *_, worst = source.make([batch], "val")
    answer, other = (Painter()(batch, Means()(who)) for who in (batch.source, batch.source.roll(1, 0)))
    torch.testing.assert_close(worst.images, (answer + other) / 2)


def test_the_stranger_of_rendered_people_is_drawn() -> None:
    renderer = FaceRenderer()
    pairs = ProceduralSwaps(renderer, 32, 4, seed=0, same_ratio=0.0)
    source = degradations(ProceduralTeacher(renderer, 0.0, 0.0, 0), kinds=["stranger"])
    source.attach(SwapData(pairs, pairs, 1, 32, "ffhq"), Means(), CPU)
    batch = pairs[0]._replace(face=torch.ones(4, 1, 32, 32))
    *_, worst = source.make([batch], "val")
    stranger = renderer.render(batch.source_identity.roll(1, 0), batch.target_attributes, 32).image
    torch.testing.assert_close(worst.images, (batch.truth + stranger) / 2)


def test_no_stranger_is_the_person_of_the_same_source() -> None:
    renderer = FaceRenderer()
    pairs = ProceduralSwaps(renderer, 32, 4, seed=0, same_ratio=0.0, targets_per_identity=2)
    source = degradations(ProceduralTeacher(renderer, 0.0, 0.0, 0), kinds=["stranger"])
    source.attach(SwapData(pairs, pairs, 1, 32, "ffhq"), Means(), CPU)
    batch = pairs[0]._replace(face=torch.ones(4, 1, 32, 32))
    *_, worst = source.make([batch], "val")
    stranger = renderer.render(batch.source_identity.roll(2, 0), batch.target_attributes, 32).image
    torch.testing.assert_close(worst.images, (batch.truth + stranger) / 2)
    with raises(OptionError, "a single source", argument="kinds"):
        next(iter(source.make([batch.take(slice(2))._replace(targets_per_identity=2)], "val")))


def test_a_teacher_that_knows_no_other_pairs_shows_no_stranger(make_data) -> None:
    data = make_data()
    batch = data.val[0]
    for wrong, named in ((batch._replace(cached_answer=batch.target), "cached"), (None, "a single source")):
        source = degradations()
        data = source.attach(data, Means(), CPU)
        single = batch.take(slice(1))
        with raises(OptionError, named, argument="kinds"):
            next(iter(source.make([single if wrong is None else wrong], "val")))


def test_impossible_options_are_refused() -> None:
    for kinds, levels, argument in ((["blur"], 1, "levels"), (["frost"], 3, "kinds")):
        with raises(OptionError, argument=argument):
            Degradations(Painter(), kinds, levels, 0)
