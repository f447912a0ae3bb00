"""Swaps that are none: whatever a blur, a smear, a grey face, a tint, a paste or a copy wins, no headline is it."""

from typing import NamedTuple

import pytest
import torch
from scipy.ndimage import gaussian_filter

from idn.data.procedural import FaceRenderer
from idn.encoders.trained import ProceduralRecogniser
from idn.evaluation.metrics import Seen, measured
from idn.evaluation.pairs.procedural import ProceduralPairs
from idn.evaluation.recogniser import Judge, look_at_pairs

PAIRS, SIZE = 16, 96
BAD = (
    "blurred target",
    "blurred teacher",
    "smeared teacher",
    "tinted teacher",
    "grey face",
    "pasted source",
    "copy of the target",
)
TO_TRUTH = ("swap_gain", "feature_gain", "detail_correlation", "psnr_truth", "ssim_truth")


class Table(NamedTuple):
    means: dict[str, dict[str, float]]

    def __call__(self, method: str, metric: str) -> float:
        return self.means[method][metric]


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


@pytest.fixture(scope="module")
def table() -> Table:
    pair_set = ProceduralPairs(FaceRenderer(), PAIRS, SIZE, "ffhq", 0)
    batch = pair_set.load(range(PAIRS)).batch
    recogniser = ProceduralRecogniser("ffhq")
    target, truth, inside = batch.target, batch.truth, batch.face
    far, noise = blurred(truth, 4), torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    tint = torch.tensor([0.7, 1.0, 1.2]).view(3, 1, 1)
    swaps = {
        "exact swap": truth,
        "soft swap": blurred(truth, 1),
        "blurred target": blurred(target, 3),
        "blurred teacher": far,
        "smeared teacher": far + 0.3 * blurred(noise, 1),
        "tinted teacher": truth * tint,
        "grey face": target.lerp(torch.full_like(target, 0.5), inside),
        "pasted source": target.lerp(batch.source, inside),
        "copy of the target": target,
    }
    with torch.no_grad():
        seen = [(recogniser(batch.source).embedding, recogniser(target).embedding)]
        judge, means = Judge(look_at_pairs(seen), pair_set.names), {}
        for name, image in swaps.items():
            image = image.clamp(0, 1)
            who = judge(recogniser(image).embedding, range(PAIRS))
            rows = measured(Seen(image, batch, who), [None] * PAIRS)
            means[name] = {key: sum(row[key] for row in rows) / PAIRS for key in rows[0]}
    return Table(means)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_method_loses_to_a_soft_but_honest_swap(table: Table, bad: str) -> None:
    for metric in ("swap_gain", "feature_gain", "psnr_truth"):
        assert table("soft swap", metric) > table(bad, metric) + 2, metric
    for metric in TO_TRUTH:
        assert table("exact swap", metric) >= table(bad, metric) - 1e-4, metric


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad not in ("tinted teacher", "pasted source")])
def test_nobody_is_recognised_in_what_shows_nobody(table: Table, bad: str) -> None:
    """A tint leaves the person to be seen, and a paste is the very picture: those are told by what follows."""
    assert table("soft swap", "identity") > table(bad, "identity") + 0.2
    assert table("soft swap", "detail_correlation") > table(bad, "detail_correlation") + 0.1
    assert table("soft swap", "retrieval") >= table(bad, "retrieval")


def test_a_paste_wins_identity_and_nothing_that_looks_at_the_target(table: Table) -> None:
    """What the documentation says of it: its likeness is that of a picture to itself."""
    assert table("pasted source", "identity") > table("exact swap", "identity")
    for metric in ("swap_gain", "feature_gain"):
        assert table("pasted source", metric) < table("soft swap", metric) - 5, metric
    assert table("pasted source", "detail_correlation") < table("soft swap", "detail_correlation") - 0.3
