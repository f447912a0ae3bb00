"""Metrics of swaps: which samples count, and that means do not depend on how pairs are batched."""

import math

import pytest
import torch

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.metrics.metric import measure
from idn.metrics.swaps import SWAP_METRICS, SeenSwaps
from idn.types import SwapBatch

DETAIL = {"swap_gain", "feature_gain", "detail_correlation", "detail_target", "sharpness_ratio", "psnr_truth"}


@pytest.fixture(scope="module")
def batch() -> SwapBatch:
    drawn = ProceduralSwaps(FaceRenderer(), 64, 8, 2, 0.0)[0]
    face, landmarks = drawn.face.clone(), drawn.landmarks.clone()
    face[2], landmarks[3] = 0, math.nan
    same = torch.arange(8) == 5
    return drawn._replace(face=face, landmarks=landmarks, same=same)


def measured(batch: SwapBatch, answer: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    embedding = torch.eye(len(batch.same))
    swap = batch.target.lerp(batch.source, 0.5)
    return measure(SWAP_METRICS, SeenSwaps(swap, batch, embedding, embedding, answer=answer))


def test_only_samples_that_show_what_is_measured_count(batch: SwapBatch) -> None:
    values = measured(batch)
    counts = {name: len(values[name]) for name in DETAIL}
    assert counts == {"swap_gain": 6, "feature_gain": 5} | dict.fromkeys(DETAIL - {"swap_gain", "feature_gain"}, 7)
    assert all(value.isfinite().all() for value in values.values())


def test_means_do_not_depend_on_the_size_of_batches(batch: SwapBatch) -> None:
    whole, parts = measured(batch), [measured(batch.take(slice(i, i + n))) for i, n in ((0, 2), (2, 1), (3, 5))]
    assert not DETAIL & parts[1].keys(), "its only sample shows no face"
    for name in DETAIL:
        torch.testing.assert_close(torch.cat([part[name] for part in parts if name in part]), whole[name])


def test_without_an_exact_swap_the_teacher_says_what_is_right(batch: SwapBatch) -> None:
    photographs = batch._replace(truth=None)
    names = {"feature_gain", "detail_correlation", "detail_target", "sharpness_ratio"}
    assert not names & measured(photographs).keys()
    taught, exact = measured(photographs, batch.truth), measured(batch)
    for name in names:
        torch.testing.assert_close(taught[name], exact[name])
    assert "feature_gain" not in measured(photographs._replace(landmarks=None), batch.truth)


def test_a_swap_that_is_no_number_is_not_left_out(batch: SwapBatch) -> None:
    spoiled = SeenSwaps(torch.full_like(batch.target, math.nan), batch, torch.eye(8), torch.eye(8))
    values = measure(SWAP_METRICS, spoiled)
    assert all(values[name].isnan().any() for name in DETAIL - {"detail_target"})
