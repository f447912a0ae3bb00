"""What the loss terms ask for: whether anybody can give it, and what all networks make of a batch."""

from collections.abc import Set

import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.losses.objective import Need, Objective
from idn.training.modules.adversarial import Adversary
from idn.types import IdentityFeatures, Look, Prediction, SwapBatch, Verdict


def demand_met(objective: Objective, answers: bool, perceptual: bool, discriminator: bool, attributes: bool) -> None:
    """Raise UserError if a term asks for something that this training does not have.

    answers: whether somebody knows what the swap should be.
    perceptual: whether a network makes perceptual maps.
    discriminator: whether there is one.
    attributes: whether the network that learns has an encoder of attributes.
    """
    teacher = None if answers else "a teacher, which this training does not have"
    verdict = None if discriminator else "a discriminator"
    maps = None if perceptual else "a network that makes perceptual maps"
    lacking: dict[Need, str | None] = {
        "answer": teacher,
        "pasted": teacher,
        "perceptual": maps,
        "target_perceptual": maps,
        "verdict": verdict,
        "target_verdict": verdict,
        "attributes": None if attributes else "a network with an encoder of attributes",
    }
    for need, what in lacking.items():
        if what and (asking := objective.asking(need)):
            raise UserError(f"the loss term {asking[0]} needs {what}: choose one, or give the term a weight of 0")


def leave_out_lacking(objective: Objective, prediction: Prediction) -> list[str]:
    """Leave out the terms of what a network does not make: a fusion mask, or smaller pictures.

    Returns a sentence for each of the two that is lacking and was asked for. Raises OptionError if no term is left.
    """
    lacking: dict[Need, str | None] = {
        "mask": "fusion mask" if prediction.mask is None else None,
        "scales": None if prediction.scales else "smaller pictures of the swap",
    }
    said = []
    for need, what in lacking.items():
        if what and (asking := objective.asking(need)):
            objective.leave_out(asking)
            said.append(f"this network has no {what}: the loss goes without {', '.join(asking)}")
    return said


def predict(
    network: nn.Module, batch: SwapBatch, faces: IdentityFeatures, needs: Set[Need], adversary: Adversary | None
) -> Prediction:
    """Swap, each of the faces into as many targets in a row, and ask the discriminator; gradients reach both networks.

    A discriminator that learns must look at these pictures before it looks at any without gradient: autocast may keep
    what it cast at the first look, and that would have no gradient then.
    """
    kept, of_target = (), ()
    if "attributes" in needs:
        out, of_target = network.swap_with_attributes(batch.target, faces)
        kept = network.attributes(out.image)
    else:
        out = network(batch.target, faces)
    return Prediction(
        image=out.image,
        mask=out.mask,
        verdict=Verdict() if adversary is None else adversary.judge(out.image, out.scales),
        attributes=kept,
        target_attributes=of_target,
        generated=out.generated,
        scales=out.scales,
    )


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
        maps = perceptual(picture, features) if asked and needs & {"perceptual", "target_perceptual"} else ()
        return Look(features.embedding.float(), maps)

    if validates or "seen" in needs:
        swap = seen(prediction.image, "seen" in needs)
        prediction = prediction._replace(embedding=swap.embedding, perceptual=swap.perceptual)
    if "scales" in needs:
        seen_smaller = tuple(encoder(picture).embedding.float() for picture in prediction.scales)
        prediction = prediction._replace(scale_embeddings=seen_smaller)
    if "pasted" in needs:
        generated = prediction.image if prediction.generated is None else prediction.generated
        prediction = prediction._replace(pasted=seen(torch.lerp(answer, generated, face)))
    return prediction
