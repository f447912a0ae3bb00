import pytest
import torch
from torch import Tensor, nn

from idn.errors import EncoderMismatch, OptionError
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.ensemble import EnsembleTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

SIZE = 16


class Painter(FrozenTeacher):
    """Paints every face in one colour and counts the faces it was asked for."""

    def __init__(self, value: float, commercial: bool | None = True, spec: SourceInput | None = None) -> None:
        declared = TeacherRecord(
            f"painter {value}", f"licence {value}", commercial, FaceInput(), spec or SourceInput("nothing")
        )
        super().__init__(declared, crop_template=None)
        self.value, self.asked = value, 0
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        assert len(target) == len(batch.source) == len(source.embedding)
        self.asked += len(target)
        return torch.full_like(target, self.value)


class Eye:
    """Sees a two-dimensional identity: brightness against its opposite."""

    name, licence = "eye", "Apache-2.0"
    embedding_dim, feature_channels, feature_size = 2, 1, 1

    def __call__(self, images: Tensor) -> IdentityFeatures:
        angle = images.mean((1, 2, 3)) * torch.pi / 2
        return IdentityFeatures(torch.stack([angle.cos(), angle.sin()], 1), images.new_zeros(len(images), 1, 1, 1))


class Dim(nn.Module):
    """Prefers dark pictures."""

    def forward(self, images: Tensor) -> Tensor:
        return 1 - images.mean((1, 2, 3))


def pairs(n: int, seed: int = 0) -> tuple[SwapBatch, IdentityFeatures]:
    images = torch.rand(2, n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    batch = SwapBatch(images[0], images[1], torch.ones(n, 1, SIZE, SIZE), torch.zeros(n, dtype=torch.bool))
    return batch, Eye()(batch.source)


def test_by_weight_asks_one_member_per_pair_in_proportion():
    members = {"a": Painter(0.2), "b": Painter(0.4), "c": Painter(0.8)}
    teacher = EnsembleTeacher(members, "weight", seed=0, shares={"b": 3.0, "a": 1.0, "c": 0.0})
    batch, source = pairs(400)
    out = teacher(batch, source)
    flat = out.flatten(1)
    assert (flat == flat[:, :1]).all()
    shares = [(flat[:, 0] == member.value).double().mean().item() for member in members.values()]
    assert shares == pytest.approx([0.25, 0.75, 0.0], abs=0.07)
    assert members["a"].asked + members["b"].asked == 400
    assert members["c"].asked == 0


@pytest.mark.parametrize("choose", ["weight", "trust"])
def test_it_counts_how_often_each_member_was_chosen(choose):
    teacher = EnsembleTeacher({"dark": Painter(0.1), "light": Painter(0.9), "loud": Painter(1.0)}, choose, seed=0)
    assert teacher.tally() == {"dark": 0, "light": 0, "loud": 0}
    teacher.attach(None, Eye())
    pictures = []
    for seed in (0, 1):
        batch, _ = pairs(8, seed)
        batch = batch._replace(source=torch.linspace(0, 1, 8)[:, None, None, None].expand(8, 3, SIZE, SIZE))
        pictures += teacher(batch, Eye()(batch.source)).mean((1, 2, 3)).tolist()
    counted = {name: sum(abs(p - member.value) < 1e-3 for p in pictures) for name, member in teacher.members.items()}
    assert teacher.tally() == counted and sum(counted.values()) == 16 and min(counted.values()) > 0
    assert Painter(0.1).tally() == {}


def test_the_draw_follows_from_the_pair_alone():
    teacher = EnsembleTeacher({"a": Painter(0.2), "b": Painter(0.4)}, "weight", seed=5)
    batch, _ = pairs(64)
    drawn = teacher.drawn(batch)
    order = torch.randperm(64)
    shuffled = SwapBatch(batch.source[order], batch.target[order], batch.face, batch.same)
    torch.manual_seed(1)
    assert torch.equal(teacher.drawn(shuffled), drawn[order])
    other = EnsembleTeacher({"a": Painter(0.2), "b": Painter(0.4)}, "weight", seed=6).drawn(batch)
    assert 10 < (other != drawn).sum() < 54


def test_by_trust_keeps_the_picture_that_looks_most_like_the_source():
    teacher = EnsembleTeacher({"dark": Painter(0.1), "light": Painter(0.9)}, "trust", seed=0)
    teacher.attach(None, Eye())
    batch, _ = pairs(2)
    batch = batch._replace(source=torch.stack([torch.full((3, SIZE, SIZE), v) for v in (0.8, 0.2)]))
    out = teacher(batch, Eye()(batch.source))
    assert out[0].unique().tolist() == pytest.approx([0.9])
    assert out[1].unique().tolist() == pytest.approx([0.1])


def test_the_scorer_can_overrule_the_identity():
    teacher = EnsembleTeacher({"dark": Painter(0.4), "light": Painter(0.6)}, "trust", seed=0, scorer=Dim())
    teacher.attach(None, Eye())
    batch, _ = pairs(1)
    batch = batch._replace(source=torch.full((1, 3, SIZE, SIZE), 0.55))
    assert teacher(batch, Eye()(batch.source)).unique().tolist() == pytest.approx([0.4])


def test_the_judge_is_not_a_part_of_the_ensemble():
    teacher = EnsembleTeacher({"a": Painter(0.1), "b": Painter(0.2)}, "trust", seed=0)
    judge = nn.Linear(2, 2)
    teacher.attach(None, judge)
    assert not any(module is judge for module in teacher.modules())


def test_members_check_the_shared_encoder():
    spec = SourceInput("shared_embedding", encoder="arcface", dim=512)
    teacher = EnsembleTeacher({"a": Painter(0.1), "b": Painter(0.2, spec=spec)}, "weight", seed=0)
    with raises(EncoderMismatch, wanted="arcface", given=Eye().name):
        teacher.attach(None, Eye())


@pytest.mark.parametrize(
    ("first", "second", "joint"), [(True, True, True), (True, None, None), (None, False, False), (True, False, False)]
)
def test_the_record_is_as_strict_as_its_strictest_member(first, second, joint):
    record = EnsembleTeacher({"a": Painter(0.1, first), "b": Painter(0.2, second)}, "weight", 0).record
    assert record.commercial is joint
    assert "painter 0.1" in record.name and "licence 0.2" in record.licence


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"members": {"a": Painter(0.1)}}, "members"),
        ({"choose": "best"}, "choose"),
        ({"shares": {"a": 1.0}}, "shares"),
        ({"shares": {"a": 0.0, "b": 0.0}}, "shares"),
        ({"shares": {"a": -1.0, "b": 2.0}}, "shares.a"),
        ({"choose": "trust", "shares": {"a": 1.0, "b": 1.0}}, "choose"),
        ({"choose": "weight", "scorer": Dim()}, "choose"),
    ],
)
def test_options_that_mean_nothing(options, argument):
    given = {"members": {"a": Painter(0.1), "b": Painter(0.2)}, "choose": "weight", "seed": 0} | options
    with raises(OptionError, argument=argument):
        EnsembleTeacher(**given)
