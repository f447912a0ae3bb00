from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from idn.data.loaders import SwapData
from idn.errors import OptionError, UserError
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.checks.report import examine_and_show
from teachers.checks.selftest import examine
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

SIZE = 32


class Paste(FrozenTeacher):
    """Shows the source in place of the target, changed by `change`."""

    def __init__(self, change: Callable[[Tensor], Tensor], source: SourceInput | None = None) -> None:
        super().__init__(
            TeacherRecord("paste", "Apache-2.0", True, FaceInput(), source or SourceInput("nothing")),
            crop_template=None,
        )
        self.change = change
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        return self.change(batch.source)


class Pixels(torch.nn.Module):
    """Embeds a picture as its own coarse pixels."""

    name, licence = "pixels", "Apache-2.0"
    embedding_dim, feature_channels, feature_size = 48, 3, 4

    def forward(self, images: Tensor) -> IdentityFeatures:
        small = torch.nn.functional.adaptive_avg_pool2d(images - 0.5, 4)
        raw = small.flatten(1)
        length = raw.norm(dim=1)
        return IdentityFeatures(raw / length[:, None], small, length=length)


def pairs(n: int = 3) -> SwapBatch:
    coarse = torch.rand(2, n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    source, target = (torch.nn.functional.interpolate(x, SIZE) for x in coarse)
    return SwapBatch(source, target, torch.ones(n, 1, SIZE, SIZE), torch.zeros(n, dtype=torch.bool))


def outcome(teacher: FrozenTeacher) -> dict[str, bool | None]:
    findings = examine(teacher, Pixels(), pairs(), rounds=1)
    return {finding.check.split(":")[0].split(",")[0]: finding.passed for finding in findings}


def failed(teacher: FrozenTeacher) -> set[str]:
    return {check for check, passed in outcome(teacher).items() if passed is False}


def test_a_sound_teacher_passes_everything():
    assert failed(Paste(lambda x: x)) == set()
    assert {"strict load", "output range", "own identity", "identity", "alone or in a batch", "speed"} <= set(
        outcome(Paste(lambda x: x))
    )


def test_a_wrong_decoding_is_seen_in_range_and_reconstruction():
    assert failed(Paste(lambda x: 2 * x - 1)) >= {"output range", "own identity"}


def test_numbers_that_are_not_finite():
    assert "output range" in failed(Paste(lambda x: x / 0 - x / 0))


def test_somebody_else():
    assert "identity" in failed(Paste(lambda x: 1 - x))


def test_mixing_the_samples_of_a_batch():
    assert "alone or in a batch" in failed(Paste(lambda x: x - 0.2 * (x.mean() - 0.5)))


@pytest.mark.parametrize(("unit", "passes"), [(True, True), (False, True)])
def test_the_length_of_embeddings_is_as_declared(unit, passes):
    spec = SourceInput("shared_embedding", encoder="pixels", dim=48, unit_length=unit)
    assert outcome(Paste(lambda x: x, spec))["embedding length"] is passes


def test_the_report_prints_a_table_and_fails_with_the_checks_by_name(capsys):
    data = SwapData([], [pairs()], 1, 64, "ffhq")
    examine_and_show(Paste(lambda x: x), Pixels(), data, "cpu", 1)
    assert "paste" in capsys.readouterr().out
    with raises(UserError, "own identity"):
        examine_and_show(Paste(lambda x: 1 - x), Pixels(), data, "cpu", 1)


def test_a_device_that_is_not_there():
    with raises(OptionError, argument="device", value="tpu"):
        examine_and_show(Paste(lambda x: x), Pixels(), SwapData([], [pairs()], 1, 64, "ffhq"), "tpu", 1)
