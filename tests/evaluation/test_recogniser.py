"""Retrieval and centred similarity on hand-made embeddings; a recogniser that taught is refused."""

import pytest
import torch

from idn.encoders.description import describe_encoder
from idn.errors import UserError
from idn.evaluation.methods.method import Method
from idn.evaluation.pairs.pair_set import PairName
from idn.evaluation.recogniser import Judge, centred, check_independent, look_at_pairs
from idn.types import EncoderDescription
from tests.conftest import TinyEncoder


def judge(people: list[str]) -> tuple[Judge, torch.Tensor]:
    """Of sources that lie on the axes, and targets opposite of them; and the sources' embeddings."""
    sources = torch.eye(len(people))
    names = [PairName(f"t{k}", f"s{k}", "somebody", person) for k, person in enumerate(people)]
    return Judge(look_at_pairs([(sources[:1], -sources[:1]), (sources[1:], -sources[1:])]), names), sources


def test_the_nearest_source_must_show_the_right_person() -> None:
    known, sources = judge(["a", "b", "c"])
    found = known(torch.stack([sources[0], sources[2], sources[2]]), range(3))
    assert found.hit.tolist() == [1, 0, 1]
    assert found.source.tolist() == pytest.approx([1, 0, 1]) and found.target.tolist() == pytest.approx([-1, 0, -1])


def test_another_picture_of_the_right_person_is_right_as_well() -> None:
    known, sources = judge(["a", "a", "b"])
    assert known(sources[1:2], range(0, 1)).hit.tolist() == [1]


def test_a_paste_of_the_source_wins_nothing_among_other_pictures_of_its_person() -> None:
    """Embeddings are person + picture: the swap has another picture's part, the paste that of the source itself."""
    draw = torch.Generator().manual_seed(3)
    count, dim = 60, 256
    people = [k // 2 for k in range(count)]
    person = torch.randn(count // 2, dim, generator=draw)[people]
    sources, targets, ours = (person.roll(turn, 0) + torch.randn(count, dim, generator=draw) for turn in (0, 2, 0))
    names = [PairName(f"t{k}", f"s{k}", f"p{people[k - 2]}", f"p{people[k]}") for k in range(count)]
    known = Judge(look_at_pairs([(sources, targets)]), names)
    swap, paste = known(ours, range(count)), known(sources, range(count))
    assert float(paste.source.min()) > 0.999 and float(swap.source.mean()) < 0.6
    assert (
        float(paste.other.mean()) == pytest.approx(float(swap.other.mean()), abs=0.03) and float(swap.other.min()) > 0.2
    )
    others = [k for k in range(count) if people[k] == people[5] and k != 5]
    cosines = [*(known.gallery.sources[k] for k in others)]
    cosines += [known.gallery.targets[k] for k in range(count) if people[k - 2] == people[5]]
    wanted = torch.stack(cosines) @ centred(ours[5:6], known.gallery.centre)[0]
    assert float(swap.other[5]) == pytest.approx(float(wanted.mean()), abs=1e-5)


def test_one_picture_of_each_person_is_no_other_one() -> None:
    """A circle of photographs, each a source and a target."""
    names = [PairName(f"p{(k + 1) % 4}", f"p{k}", f"p{(k + 1) % 4}", f"p{k}") for k in range(4)]
    sources = torch.eye(4)
    assert Judge(look_at_pairs([(sources, sources.roll(-1, 0))]), names)(sources, range(4)).other.isnan().all()


def test_no_more_than_a_hint_of_everybody_is_no_likeness() -> None:
    """A picture that drifts to the mean moves nearer to everybody by the plain cosine, and not by the centred one."""
    draw = torch.Generator().manual_seed(0)
    mean, people = torch.randn(64, generator=draw), torch.randn(200, 64, generator=draw)
    sharp = torch.nn.functional.normalize(people + mean)
    blurred = torch.nn.functional.normalize(0.3 * people + mean)
    others = ~torch.eye(200, dtype=torch.bool)
    centre = sharp.mean(0)
    plain = [float((seen @ sharp.mT)[others].mean()) for seen in (sharp, blurred)]
    fair = [float((centred(seen, centre) @ centred(sharp, centre).mT)[others].mean()) for seen in (sharp, blurred)]
    assert plain[1] > plain[0] + 0.1 and abs(fair[1] - fair[0]) < 0.01


class Named(Method):
    def swap(self, pairs, who):
        raise NotImplementedError


@pytest.mark.parametrize("known", ["name", "mark"])
def test_a_recogniser_that_taught_is_refused_or_told(known: str) -> None:
    encoder = TinyEncoder()
    taught = (
        EncoderDescription(0, 0, name="tiny") if known == "name" else describe_encoder(encoder)._replace(name="other")
    )
    methods = [Named("student", {}, taught), Named("copy", {})]
    with pytest.raises(UserError, match="taught student"):
        check_independent(encoder, methods, same_recogniser=False)
    assert check_independent(encoder, methods, same_recogniser=True) == ["student"]
    assert check_independent(encoder, methods[1:], same_recogniser=False) == []
