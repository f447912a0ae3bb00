"""Building a training from its parts: whoever has to know each other is introduced, and the student made to fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from idn.data.loaders import SwapData
from idn.encoders.description import describe_encoder, same_mark
from idn.errors import OptionError, UserError
from idn.losses.objective import Objective
from idn.reweighting.trust import Trust
from idn.students.protocol import SwapStudent
from idn.students.student_file import begin_with, save_student
from idn.training.modules.supervision import PairSupervision, Supervisor
from idn.training.modules.swap_training import SwapTraining
from idn.training.optimization.optimizers import Build
from idn.types import EncoderDescription, IdentityEncoder


class Teacher(Protocol):
    """What is asked of a teacher before a training; see teachers.base.FrozenTeacher."""

    def attach(self, data: SwapData, encoder: IdentityEncoder, scorer: nn.Module | None = None) -> SwapData:
        """Meet the run's data, the encoder that serves the student, and the quality scorer if there is one.

        Returns the data that this teacher wants to be given, made from those of the run.
        """
        ...


def check_acquainted(data: SwapData, encoder: IdentityEncoder) -> None:
    """Raise OptionError if the data are photographs and the identity encoder has only ever seen drawn faces."""
    if data.photographs and getattr(encoder, "drawn_only", False):
        wanted = "keeps photographs from an encoder of drawn faces: take one of real people, or true all the same"
        raise OptionError("photographs", False, wanted, encoder)


def check_recogniser(recogniser: IdentityEncoder | None, encoder: IdentityEncoder) -> None:
    """Raise UserError if the encoder that shall only validate is the one that teaches, in another file perhaps."""
    if recogniser is not None and same_mark(describe_encoder(recogniser), describe_encoder(encoder)):
        raise UserError(
            f"the recogniser has the weights of the encoder that teaches, {encoder.name}, and would praise what it "
            "taught: take another one, or none"
        )


def introduce(data: SwapData, encoder: IdentityEncoder, teacher: Teacher, trust: Trust) -> SwapData:
    """The data as the teacher wants to be given them; it knows of encoder and trust afterwards.

    Raises UserError if they do not fit each other: an encoder of drawn faces with photographs, a teacher that reads
    another encoder, kept answers to other pairs.
    """
    check_acquainted(data, encoder)
    return teacher.attach(data, encoder, trust.scorer)


def fitting(student: Callable[[EncoderDescription], SwapStudent], encoder: IdentityEncoder) -> SwapStudent:
    """A new student that reads what this encoder says, and keeps in its file which encoder that was.

    student: a constructor that only lacks the description of the encoder.
    """
    return student(describe_encoder(encoder))


def build_distillation(
    *,
    data: SwapData,
    encoder: Any,
    supervision: Supervisor | Callable[[Any, Trust], Supervisor],
    teacher: Any,
    trust: Trust | None,
    student: Callable[[EncoderDescription], SwapStudent],
    perceptual: nn.Module,
    objective: Objective,
    optimizer: Build,
    schedule: Callable[[Optimizer], LRScheduler],
    module: Callable[..., SwapTraining],
    discriminator: Callable[[], nn.Module] | None = None,
    recogniser: Any = None,
    start: str | Path | None = None,
) -> tuple[SwapTraining, SwapData]:
    """What trains a student, and what it trains on.

    data: pairs of crops.
    encoder: frozen identity encoder, an IdentityEncoder.
    supervision: says what a swap should be; with a teacher, a constructor that only lacks that and the trust in it.
    teacher, trust: frozen, such as those in `teachers`; how far it is believed. None where the data know all answers.
    student: a constructor that only lacks the description of the encoder, such as `partial(Student, width=0.5)`.
    perceptual, objective: maps that the perceptual loss compares; what the student minimises.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer.
    module: SwapTraining with its options, such as `partial(SwapTraining, ema_decay=0.999)`.
    discriminator: constructor of one, where the student learns adversarially as well.
    recogniser: frozen identity encoder that only validates, or None.
    start: file of a student whose weights are trained further, or None for new ones.

    Returns the module and the data as this teacher wants them. Raises UserError for parts that do not fit each other,
    a recogniser with the weights of the encoder among them.
    """
    check_recogniser(recogniser, encoder)
    if teacher is None:
        check_acquainted(data, encoder)
    else:
        data, supervision = introduce(data, encoder, teacher, trust), supervision(teacher, trust)
    network = fitting(student, encoder)
    before = {} if start is None else begin_with(network, start)
    return module(
        network=network,
        supervisor=supervision,
        encoder=encoder,
        perceptual=perceptual,
        discriminator=None if discriminator is None else discriminator(),
        recogniser=recogniser,
        objective=objective,
        optimizer=optimizer,
        schedule=schedule,
        notes={"template": data.template, "size": str(data.size)},
        before=before,
        write=save_student,
    ), data


def build_teacher_training(
    *,
    data: SwapData,
    encoder: Any,
    network: Callable[..., nn.Module],
    discriminator: Callable[[], nn.Module],
    objective: Objective,
    optimizer: Build,
    schedule: Callable[[Optimizer], LRScheduler],
    module: Callable[..., SwapTraining],
    licence: str,
    recogniser: Any = None,
) -> SwapTraining:
    """What trains a swapper that may become a teacher.

    data: pairs of crops.
    encoder: frozen identity encoder, an IdentityEncoder.
    network: constructor of a swapper that only lacks `dim`, the length of the encoder's embeddings.
    discriminator: constructor of one, which tells photographs from swaps.
    objective: what the swapper minimises.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer.
    module: SwapTraining with its options.
    licence: of the weights that come out.
    recogniser: frozen identity encoder that only validates, or None.

    Raises UserError if two of the parts do not fit each other.
    """
    check_recogniser(recogniser, encoder)
    check_acquainted(data, encoder)
    made = network(dim=encoder.embedding_dim)
    made.check_size(data.size)
    return module(
        network=made,
        supervisor=PairSupervision(),
        discriminator=discriminator(),
        recogniser=recogniser,
        encoder=encoder,
        objective=objective,
        optimizer=optimizer,
        schedule=schedule,
        notes={"template": data.template, "size": str(data.size), "licence": licence},
        write=type(made).save,
    )
