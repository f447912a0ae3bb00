"""Exact answers, a teacher, or both: who says what a swap should be, and what trust may weigh."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.errors import OptionError, UserError
from idn.losses.adversarial import HingeGenerator
from idn.losses.distillation import FaceDistillation, IdentityLoss, PerceptualDistillation, PixelDistillation
from idn.losses.mobilefsgan import IdentityMargin, TargetPerceptual, TripletReconstruction
from idn.losses.objective import Objective
from idn.metrics.metric import measure
from idn.metrics.swaps import SWAP_METRICS
from idn.reweighting.trust import Trust
from idn.students.mobilefsgan.student import Student
from idn.training.discriminators import ThreeSizesDiscriminator
from idn.training.modules.observed import seen_swaps
from idn.training.modules.supervision import ExactOrTaught, ExactSupervision, terms_of_both
from idn.types import EncoderDescription, IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.without_weights.procedural import ProceduralTeacher
from teachers.without_weights.truth import TruthTeacher
from tests.conftest import TinyEncoder, quiet_trainer
from tests.raising import raises

Make = Callable[..., Any]
KNOWN = torch.tensor([True, False, True, False])


class Half(FrozenTeacher):
    """Answers half the truth, and remembers which targets it was shown."""

    def __init__(self) -> None:
        super().__init__(ProceduralTeacher(None, 0.0, 0.0, 0).record, crop_template=None)
        self.shown: list[torch.Tensor] = []
        self.freeze()

    def swap(self, target: torch.Tensor, batch: SwapBatch, source: IdentityFeatures) -> torch.Tensor:
        self.shown.append(target)
        return target / 2


def partly(batch: SwapBatch) -> SwapBatch:
    truth = torch.where(KNOWN[:, None, None, None], batch.truth, batch.target)
    return batch._replace(truth=truth, truth_known=KNOWN)


def everything(**options: Any) -> Objective:
    """Every term that compares with an answer, and one that does not."""
    terms: dict[str, nn.Module] = {
        "face": FaceDistillation(),
        "pixel": PixelDistillation(),
        "perceptual": PerceptualDistillation("pasted"),
        "reconstruction": TripletReconstruction(),
        "identity": IdentityLoss("pasted"),
    }
    return Objective(terms, dict.fromkeys(terms, 1.0), ["face", "pixel", "perceptual", "reconstruction"], **options)


def losses(module: Any, batch: SwapBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    seen = module.observe(batch, module.ema.network)
    return module.objective(seen.prediction, seen.supervision, seen.supervised.trust)


def test_what_stands_in_rows_without_a_truth_changes_no_loss(make_module: Make, make_data: Make) -> None:
    batch = partly(make_data().train[0])
    garbage = torch.where(KNOWN[:, None, None, None], batch.truth, torch.rand(batch.truth.shape))
    for supervisor in (ExactSupervision(partly=True), ExactOrTaught(Half(), Trust("none"))):
        module = make_module(supervisor=supervisor, objective=everything())
        (total, parts), (again, changed) = losses(module, batch), losses(module, batch._replace(truth=garbage))
        assert torch.equal(total, again) and all(torch.equal(parts[name], changed[name]) for name in parts)


def test_triplets_compare_where_the_swap_is_known_and_only_there(make_module: Make, make_data: Make) -> None:
    batch, module = partly(make_data().train[0]), make_module(supervisor=ExactSupervision(True), objective=everything())
    seen = module.observe(batch, module.network)
    assert torch.equal(seen.supervision.answer, batch.truth) and torch.equal(seen.supervision.known, KNOWN)
    assert seen.supervised.trust is None and seen.supervised.cosine is None
    _, parts = losses(module, batch)
    _, whole = losses(module, batch.take(KNOWN.nonzero().flatten()))
    for name in ("face", "pixel", "perceptual", "reconstruction"):
        torch.testing.assert_close(parts[name], whole[name] / 2)


def test_both_ask_the_teacher_for_the_other_pairs_alone_and_trust_weighs_those_alone(
    make_module: Make, make_data: Make
) -> None:
    batch, teacher = partly(make_data().train[0]), Half()
    module = make_module(supervisor=ExactOrTaught(teacher, Trust("identity")), objective=everything())
    supervised = module.observe(batch, module.network).supervised
    assert len(teacher.shown) == 1 and torch.equal(teacher.shown[0], batch.target[~KNOWN])
    assert torch.equal(supervised.answer[KNOWN], batch.truth[KNOWN])
    assert torch.equal(supervised.answer[~KNOWN], batch.target[~KNOWN] / 2)
    assert supervised.trust[KNOWN].tolist() == [1.0, 1.0] and bool((supervised.trust[~KNOWN] < 1).all())
    assert supervised.known is None and torch.equal(supervised.exact, KNOWN)
    all_known = module.observe(batch._replace(truth_known=None), module.network).supervised
    assert len(teacher.shown) == 1 and all_known.trust.tolist() == [1.0] * 4


def test_metrics_of_teacher_and_truth_count_their_own_rows(make_module: Make, make_data: Make) -> None:
    batch, swaps = partly(make_data().train[0]), {}
    for name, supervisor in {"triplets": ExactSupervision(True), "both": ExactOrTaught(Half(), Trust("none"))}.items():
        module = make_module(supervisor=supervisor, objective=everything())
        swaps[name] = measure(SWAP_METRICS, seen_swaps(module.observe(batch, module.network, True), batch))
    assert not {"psnr_teacher", "identity_teacher", "trust"} & swaps["triplets"].keys()
    assert {name: len(swaps["both"][name]) for name in ("psnr_teacher", "identity_teacher", "trust")} == {
        "psnr_teacher": 2,
        "identity_teacher": 2,
        "trust": 2,
    }
    for values, right in ((swaps["triplets"], 2), (swaps["both"], 4)):
        assert len(values["swap_gain"]) == len(values["psnr_truth"]) == 2 and len(values["sharpness_ratio"]) == right
        assert all(value.isfinite().all() for value in values.values())


def test_exact_wants_every_swap_and_triplets_some(make_data: Make) -> None:
    batch, encoder = make_data().train[0], TinyEncoder()
    source = encoder(batch.source)
    for supervisor in (ExactSupervision(True), ExactSupervision(False)):
        whole = supervisor.supervise(batch, source, encoder, look=True)
        assert whole.answer is batch.truth and whole.known is None and whole.trust is None
        torch.testing.assert_close(whole.seen.embedding, encoder(batch.truth).embedding)
    with raises(UserError, "some pairs only"):
        ExactSupervision(False).supervise(partly(batch), source, encoder)
    for supervisor in (ExactSupervision(True), ExactSupervision(False), ExactOrTaught(Half(), Trust("none"))):
        with raises(UserError, "no exact swaps"):
            supervisor.supervise(batch._replace(truth=None), source, encoder)
    with raises(UserError, "some pairs only"):
        TruthTeacher()(partly(batch), source)
    with raises(OptionError, argument="partly"):
        ExactSupervision("no")


def test_the_procedural_teacher_draws_what_triplets_do_not_tell() -> None:
    drawn = ProceduralSwaps(FaceRenderer(), 32, 4, 5, 0.0)[0]
    teacher, source = (
        ProceduralTeacher(FaceRenderer(), 0.0, 0.0, 0),
        IdentityFeatures(torch.zeros(4, 1), torch.zeros(0)),
    )
    torch.testing.assert_close(teacher(partly(drawn), source), drawn.truth)


def test_terms_of_a_teacher_stay_when_exact_answers_follow_or_go_before() -> None:
    exact = ExactSupervision(True).lineage()
    taught = {"teacher": "SimSwap", "teacher_licence": "NC", "teacher_commercial_use": "forbidden"}
    assert terms_of_both(taught, exact) == terms_of_both(exact, taught) == taught
    assert terms_of_both(exact, exact) == terms_of_both({}, exact) == exact


def published_losses() -> Objective:
    terms = {
        "identity": IdentityMargin(),
        "identity_half": IdentityMargin(scale=1),
        "identity_quarter": IdentityMargin(scale=2),
        "reconstruction": TripletReconstruction(),
        "perceptual": TargetPerceptual(None),
        "adversarial": HingeGenerator("hinge", [1.0, 0.02, 0.02]),
    }
    return Objective(terms, dict.fromkeys(terms, 1.0), ["reconstruction"])


@pytest.fixture
def triplets() -> Any:
    """Drawn faces of 64 px, of which half know their swap."""
    from idn.data.loaders import procedural_data

    return procedural_data(FaceRenderer(), 64, "ffhq", 2, 0.0, 1, 0, 0, truth_share=0.5)


def test_all_networks_of_mobilefsgan_learn_from_triplets_and_a_resumed_run_is_the_same(
    tmp_path: Path, make_module: Make, triplets: Any
) -> None:
    def module() -> Any:
        torch.manual_seed(1)
        network, discriminator = Student(EncoderDescription(8, 16), width=4), ThreeSizesDiscriminator(4, 2)
        options = {"network": network, "discriminator": discriminator, "supervisor": ExactSupervision(True)}
        return make_module(objective=published_losses(), real="photograph", scales=[0.5, 0.01, 0.01], **options)

    from idn.training.fit import start

    whole, first, second = module(), module(), module()
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    trainer = quiet_trainer(tmp_path, 4, enable_checkpointing=False)
    start(trainer, whole, triplets, None)
    learning = [key for key, parameter in whole.named_parameters() if parameter.requires_grad]
    still = [key for key in learning if torch.equal(before[key], whole.state_dict()[key])]
    assert [key for key in still if not key.endswith(("judge.bias", "norms.0.bias"))] == []
    assert {"val/loss_identity_quarter", "val/loss_reconstruction", "val/swap_gain"} <= set(trainer.callback_metrics)
    half = quiet_trainer(tmp_path, 2, enable_checkpointing=False)
    start(half, first, triplets, None)
    half.save_checkpoint(tmp_path / "half.ckpt")
    start(quiet_trainer(tmp_path, 4, enable_checkpointing=False), second, triplets, tmp_path / "half.ckpt")
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value, msg=key)


def test_a_student_without_smaller_pictures_goes_without_their_losses(
    tmp_path: Path, make_module: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"supervisor": ExactSupervision(False), "discriminator": ThreeSizesDiscriminator(4, 2)}
    module = make_module(objective=published_losses(), **options)
    from idn.training.fit import start

    start(quiet_trainer(tmp_path, 1, enable_checkpointing=False), module, make_data(), None)
    assert capsys.readouterr().out.count("no smaller pictures of the swap: the loss goes without identity_half, ") == 1
    assert module.objective.weights.keys() == {"identity", "reconstruction", "perceptual", "adversarial"}
