"""What the loss terms ask for: whether anybody can give it, and the looks of the frozen networks at what was made."""

from collections.abc import Set

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.losses.objective import Need, Objective
from idn.types import Look, Prediction


def demand_met(objective: Objective, answers: bool, perceptual: bool, discriminator: bool, attributes: bool) -> None:
    """Raise UserError if a term asks for something that this training does not have.

    answers: whether somebody knows what the swap should be.
    perceptual: whether a network makes perceptual maps.
    discriminator: whether there is one.
    attributes: whether the network that learns has an encoder of attributes.
    """
    teacher = None if answers else "a teacher, which this training does not have"
    verdict = None if discriminator else "a discriminator"
    lacking: dict[Need, str | None] = {
        "answer": teacher,
        "pasted": teacher,
        "perceptual": None if perceptual else "a network that makes perceptual maps",
        "verdict": verdict,
        "target_verdict": verdict,
        "attributes": None if attributes else "a network with an encoder of attributes",
    }
    for need, what in lacking.items():
        if what and (asking := objective.asking(need)):
            raise UserError(f"the loss term {asking[0]} needs {what}: choose one, or give the term a weight of 0")


def look(
    prediction: Prediction,
    face: Tensor,
    answer: Tensor | None,
    needs: Set[Need],
    encoder: nn.Module,
    perceptual: nn.Module | None,
    validates: bool = False,
) -> Prediction:
    """The same prediction, with what the frozen networks see in the pictures that the losses look at, with gradient.

    face: (N, 1, S, S), where the generated face is pasted into `answer`, (N, 3, S, S).
    needs: what the terms ask for.
    validates: the encoder looks at the swap in any case.
    """

    def seen(picture: Tensor, asked: bool = True) -> Look:
        features = encoder(picture)
        maps = perceptual(picture, features) if asked and "perceptual" in needs else ()
        return Look(features.embedding.float(), maps)

    if validates or "seen" in needs:
        swap = seen(prediction.image, "seen" in needs)
        prediction = prediction._replace(embedding=swap.embedding, perceptual=swap.perceptual)
    if "pasted" in needs:
        generated = prediction.image if prediction.generated is None else prediction.generated
        prediction = prediction._replace(pasted=seen(torch.lerp(answer, generated, face)))
    return prediction
