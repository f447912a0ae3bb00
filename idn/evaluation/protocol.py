"""The protocol of an evaluation: everything that its numbers depend on beside the methods, stored as JSON."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import idn
from idn.data.alignment.detector import Detector
from idn.encoders.description import describe_encoder
from idn.errors import UserError
from idn.evaluation.face_networks import FaceNetwork
from idn.evaluation.gaze import LEAST_WIDTH
from idn.evaluation.landmarks import Landmarks
from idn.evaluation.pairs.pair_set import PairSet
from idn.evaluation.perceptual import Inception, Lpips
from idn.files.atomic import atomic_write
from idn.files.digests import file_sha256, weights_digest
from idn.geometry.templates import template_points
from idn.types import IdentityEncoder

PROTOCOL = "protocol.json"
"""Name of its file in the folder of an evaluation."""
REVISION = 2
"""Counts what changes the meaning of a number: two reports of different revisions cannot be compared."""
_CHECKSUM = 64
"""Digits of a SHA-256."""
_EYE_WIDTH = 0.38
"""Of an eye between its landmarks, in distances of the eyes, about."""
_MAY_DIFFER = ("versions", "said", "not_measured")
"""Fields that do not decide whether numbers can be compared."""


@dataclass(frozen=True)
class Protocol:
    """What stands beside every number of an evaluation."""

    name: str
    """Of the pairs: procedural, folder, celeba_hq, faceforensics, videos."""
    pairs: int
    pairs_sha256: str
    """Of the names of all pairs in order, 16 digits."""
    size: int
    """Of the crops in pixels."""
    template: str
    facts: Mapping[str, Any]
    """What else decides about the pairs: seed, frames per video, the list."""
    left_out: Mapping[str, int]
    """How many pictures or pairs are not among them, by reason."""
    recogniser: Mapping[str, Any]
    """Name, checksum, licence; and whom it taught."""
    landmarks: Mapping[str, Any] | None
    """The model of the 68 landmarks, and its terms; or why there are none."""
    detector: Mapping[str, Any] | None
    """What looks for a face in every swap, and its settings; without one, landmarks are read where there may be no
    face. None where nobody asks."""
    lpips: Mapping[str, Any] | None
    """Which network's distance it is, and its checksum; None where it is not measured."""
    networks: Mapping[str, Mapping[str, Any]]
    """By metric, the published network that measures it, and its checksum."""
    extractor: Mapping[str, Any]
    """Whose features FID and KID compare."""
    reference: str
    """The set whose mean centres the embeddings."""
    revision: int
    versions: Mapping[str, str]
    """Of this package and the libraries."""
    said: tuple[str, ...] = ()
    """Warnings that every output repeats."""
    not_measured: tuple[str, ...] = ()
    """What is not among the numbers, and why; every output repeats it."""

    def write(self, folder: Path) -> None:
        """Store it in the folder of an evaluation."""
        with atomic_write(folder / PROTOCOL) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Protocol":
        """That of an evaluation. Raises UserError where there is none, or one of another version."""
        path = folder / PROTOCOL
        if not path.is_file():
            raise UserError(f"{folder} holds no evaluation: give the folder that `idn eval` wrote")
        try:
            found = json.loads(path.read_text())
            return cls(**found | {name: tuple(found[name]) for name in ("said", "not_measured")})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} was not written by this version of idn ({error}): evaluate again") from error

    def differences(self, other: "Protocol") -> list[str]:
        """What keeps numbers of the two from being compared: "seed: 0 and 1", for every such field."""
        mine, theirs = (json.loads(json.dumps(asdict(one))) for one in (self, other))
        found = {
            field.name: _short(mine[field.name], theirs[field.name])
            for field in fields(self)
            if field.name not in _MAY_DIFFER and mine[field.name] != theirs[field.name]
        }
        if found.get("extractor") == found.get("recogniser"):  # whose features it takes
            found.pop("extractor", None)
        return [f"{name}: {said}" for name, said in found.items()]


def _short(one: Any, other: Any) -> str:
    """The parts in which two values differ; of models, their names where those do, or where one is missing."""
    if isinstance(one, dict) and isinstance(other, dict) and one.get("name") == other.get("name"):
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        return ", ".join(f"{key} {_brief(one.get(key))} and {_brief(other.get(key))}" for key in keys)
    one, other = (value.get("name", value) if isinstance(value, dict) else value for value in (one, other))
    return f"{one} and {other}"


def _brief(value: Any) -> str:
    """A checksum by its first digits, a model by its name."""
    value = value.get("name", value) if isinstance(value, dict) else value
    said = "null" if value is None else str(value)
    return f"{said[:12]}..." if len(said) == _CHECKSUM and " " not in said else said


class Models(NamedTuple):
    """Who judges."""

    recogniser: IdentityEncoder
    taught: Sequence[str]
    """Names of the methods that it taught."""
    landmarks: Landmarks | None
    no_landmarks: str
    """Why there are none."""
    lpips: Lpips | None
    no_lpips: str
    extractor: Inception | None
    """Whose features FID and KID compare; None takes those of the recogniser."""
    networks: Mapping[str, FaceNetwork]
    """By the metric that they serve."""
    no_networks: Sequence[str] = ()
    """Which of them there are not, and why."""
    detector: Detector | None = None
    """What looks for a face in every swap."""


def describe_protocol(pair_set: PairSet, models: Models) -> Protocol:
    """What stands beside the numbers of these pairs, judged by these models."""
    described = {
        "name": describe_encoder(models.recogniser).name,
        "licence": models.recogniser.licence,
        "sha256": checksum(models.recogniser),
    }
    features = described if models.extractor is None else models.extractor.facts
    return Protocol(
        name=pair_set.name,
        pairs=len(pair_set),
        pairs_sha256=pair_set.digest(),
        size=pair_set.size,
        template=pair_set.template,
        facts=pair_set.facts,
        left_out=pair_set.left_out,
        recogniser=described | {"taught": bool(models.taught)},
        landmarks=None if models.landmarks is None else _landmark_facts(models.landmarks),
        detector=None if models.detector is None else _detector_facts(models.detector),
        lpips=None if models.lpips is None else models.lpips.facts,
        networks={name: network.facts for name, network in models.networks.items()},
        extractor={"features": "last map, averaged", **features},
        reference="the sources and targets of these pairs",
        revision=REVISION,
        versions={"idn": idn.__version__, "torch": torch.__version__, "python": platform.python_version()},
        said=tuple(_said(models)),
        not_measured=tuple(_not_measured(pair_set, models)),
    )


def checksum(encoder: IdentityEncoder) -> str:
    """Of what an encoder computes with: its tensors, or the file that it names."""
    return weights_digest(encoder) if isinstance(encoder, nn.Module) else describe_encoder(encoder).name


def _said(models: Models) -> list[str]:
    """What flatters, or is not what its name says."""
    said = []
    if models.taught:
        said.append(f"the recogniser taught {', '.join(models.taught)} and judges them: its numbers flatter them")
    for model in (models.lpips, models.extractor):
        if model is not None and not model.facts["published_weights"]:
            said.append(f"{model.facts['name']} has other weights than those that torchvision publishes")
    return said


def _not_measured(pair_set: PairSet, models: Models) -> list[str]:
    missing = []
    if models.landmarks is None:
        missing.append(f"no landmarks: {models.no_landmarks}")
    elif pair_set.runs is not None:
        longest = max(Counter(pair_set.runs).values())
        if longest == 1:
            missing.append("no jitter and no flicker: every frame stands alone, they take 3 and 2 in a row")
        elif longest == 2:
            missing.append("no jitter: it takes 3 successive frames, and there are 2 at a time")
    left, right = template_points(pair_set.template)[:2]
    width = float((left - right).norm()) * _EYE_WIDTH * pair_set.size
    if models.landmarks is not None and width < LEAST_WIDTH:
        missing.append(f"hardly any gaze_error: eyes are about {width:.0f} px wide, and it takes {LEAST_WIDTH}")
    missing += models.no_networks
    if models.lpips is None:
        missing.append(f"no LPIPS: {models.no_lpips}")
    return missing


def _landmark_facts(landmarks: Landmarks) -> Mapping[str, Any]:
    path = getattr(landmarks, "path", None)
    facts = {"name": type(landmarks).__name__, "licence": getattr(landmarks, "licence", "unknown")}
    return facts if path is None else facts | {"sha256": file_sha256(path)}


def _detector_facts(detector: Detector) -> Mapping[str, Any]:
    return {"name": type(detector).__name__, **getattr(detector, "settings", {})}
