"""One shell for every network that swaps: what it needs, what it goes without, a discriminator where there is one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from idn.errors import OptionError, UserError
from idn.geometry.templates import template_points
from idn.losses.adversarial import AttributePreservation, HingeGenerator, WeakFeatureMatching
from idn.losses.distillation import BackgroundMask, IdentityLoss, PixelDistillation
from idn.losses.objective import Objective
from idn.metrics.metric import measure
from idn.metrics.swaps import SWAP_METRICS, Recognised, SeenSwaps
from idn.training.discriminators import PatchDiscriminator
from idn.training.modules.supervision import PairSupervision, TeacherSupervision
from idn.training.modules.swap_training import SwapTraining
from idn.training.resume import start
from idn.types import IdentityFeatures, SwapBatch, SwapOutput
from teachers.without_weights.truth import TruthTeacher
from tests.conftest import quiet_trainer
from tests.raising import raises

Make = Callable[..., Any]


class Plain(nn.Module):
    """A network without a mask that adds a colour, which it reads from the embedding, to the target."""

    def __init__(self, **rates: float) -> None:
        super().__init__()
        self.rates = rates
        self.colour = nn.Linear(8, 3)

    def forward(self, target: torch.Tensor, identity: IdentityFeatures) -> SwapOutput:
        return SwapOutput((target + self.colour(identity.embedding)[:, :, None, None]).clamp(0, 1))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"network": list(self.parameters())}


def objective(**terms: nn.Module) -> Objective:
    return Objective(terms, dict.fromkeys(terms, 1.0))


def train(path: Path, module: SwapTraining, data: pl.LightningDataModule, steps: int = 2) -> pl.Trainer:
    trainer = quiet_trainer(path, steps, enable_checkpointing=False)
    start(trainer, module, data, None)
    return trainer


def test_a_student_learns_adversarially_beside_its_teacher(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    terms = objective(pixel=PixelDistillation(), identity=IdentityLoss(), adversarial=HingeGenerator())
    module = make_module(objective=terms, discriminator=PatchDiscriminator(1, 4, 2), clip=1.0)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = train(tmp_path, module, make_data(), 3)
    learning = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
    assert {key.split(".")[0] for key in learning} == {"network", "adversary"}
    still = [key for key in learning if torch.equal(before[key], module.state_dict()[key])]
    assert [key for key in still if not key.endswith("judge.bias")] == []
    assert trainer.global_step == 3 and int(module.ema.updates) == 3
    logged = {"val/loss_adversarial", "val/loss_discriminator", "val/identity_teacher", "val/trust", "val/psnr_teacher"}
    assert logged <= set(trainer.callback_metrics)


def test_exact_answers_teach_without_a_teacher(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    module, data = make_module(teacher=TruthTeacher(), variant="none"), make_data()
    batch = data.train[0]
    seen = module.observe(batch, module.network)
    assert torch.equal(seen.supervision.answer, batch.truth) and bool((seen.supervised.trust == 1).all())
    train(tmp_path, module, data)
    with raises(UserError):
        module.observe(batch._replace(truth=None), module.network)


@pytest.mark.parametrize("term", [PixelDistillation(), IdentityLoss()], ids=["answers", "identity"])
def test_a_network_without_a_mask_goes_without_the_terms_of_masks(
    term: nn.Module, tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    module = make_module(network=Plain(), objective=objective(term=term, mask=BackgroundMask()))
    trainer = train(tmp_path, module, make_data())
    said = "this network has no fusion mask: the loss goes without mask"
    assert capsys.readouterr().out.splitlines().count(said) == 1
    assert "val/loss_term" in trainer.callback_metrics and "val/loss_mask" not in trainer.callback_metrics


def test_a_network_without_a_mask_needs_another_term(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    module = make_module(network=Plain(), objective=objective(mask=BackgroundMask()))
    with raises(OptionError, argument="weights"):
        train(tmp_path, module, make_data())


@pytest.mark.parametrize(
    ("terms", "options", "named"),
    [
        ({"adversarial": HingeGenerator()}, {}, ["adversarial", "a discriminator"]),
        ({"a": HingeGenerator(), "features": WeakFeatureMatching()}, {}, ["a", "a discriminator"]),
        ({"kept": AttributePreservation()}, {}, ["kept", "a network with an encoder of attributes"]),
        ({"pixel": PixelDistillation()}, {"supervisor": PairSupervision()}, ["pixel", "a teacher"]),
        (
            {"identity": IdentityLoss()},
            {"discriminator": PatchDiscriminator(1, 4, 1)},
            ["face_adversarial"],
        ),
    ],
)
def test_a_term_that_asks_for_what_is_not_there_is_refused(
    terms: dict[str, nn.Module], options: dict[str, Any], named: list[str], make_module: Make
) -> None:
    with raises(UserError, *named):
        make_module(objective=objective(**terms), **options)


def test_rates_of_parameters_that_are_not_there_are_refused(make_module: Make) -> None:
    with pytest.raises(OptionError) as error:
        make_module(network=(network := Plain(prediction=0.003)))
    assert error.value.argument == "rates.prediction" and error.value.owner is network


def test_the_file_says_where_the_network_comes_from(tmp_path: Path, make_module: Make, make_data: Make) -> None:
    written = {}
    module = make_module(
        write=lambda network, path, notes: written.update(notes, network=network), notes={"size": "32"}
    )
    train(tmp_path, module, make_data())
    module.save(tmp_path / "file", 0.5, {"metrics": "{}"})
    assert written["network"] is module.ema.network and written["metrics"] == "{}"
    expected = {"teacher": "procedural", "encoder": "tiny", "encoder_dim": "8", "size": "32", "fraction": "0.5"}
    expected |= {"steps": "2", "max_steps": "2", "teacher_commercial_use": "allowed"}
    assert {key: written[key] for key in expected} == expected


def pairs(batch: SwapBatch, **more: Any) -> SeenSwaps:
    embedding = torch.eye(4, 8)
    return SeenSwaps(batch.target, batch, embedding, embedding.roll(1, 0), **more)


def test_only_metrics_that_can_be_known_are_measured(make_data: Make) -> None:
    batch = make_data().train[0]
    batch = batch._replace(landmarks=template_points("ffhq").float().expand(4, 5, 2))
    answers = {"answer": batch.truth, "answer_cosine": torch.ones(4), "trust": torch.ones(4)}
    everything = pairs(batch, target=torch.eye(4, 8), recognised=Recognised(*torch.ones(3, 4)), **answers)
    measured = measure(SWAP_METRICS, everything)
    assert measured.keys() == {metric.name for metric in SWAP_METRICS} - {"loss"}
    assert torch.equal(measured["swap_gain"], torch.zeros(4)), "the target itself"
    few = measure(SWAP_METRICS, pairs(batch._replace(truth=None, same=torch.ones(4, dtype=torch.bool))))
    assert few.keys() == {"identity_swap", "psnr_target"}
    assert measure(SWAP_METRICS, everything, training=True).keys() == {"identity_swap", "identity_teacher", "trust"}
    half = batch._replace(same=torch.tensor([True, False, True, False]))
    assert len(measure(SWAP_METRICS, pairs(half))["swap_gain"]) == 2, "pairs of two people alone"


def test_a_supervisor_says_whether_it_answers(make_module: Make) -> None:
    assert TeacherSupervision.answers and not PairSupervision.answers
    assert PairSupervision().lineage() == {} and set(make_module().supervisor.lineage()) >= {"teacher"}
