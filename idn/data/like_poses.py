"""Pairing by head pose: which photographs show heads that are turned alike."""

from collections.abc import Sequence

import torch
from torch import Tensor

from idn.data.stable_draws import below


class LikePoses:
    """Which photographs show heads that are turned alike.

    poses: (P, 2) yaw and pitch of all photographs in degrees, NaN where unknown.
    people: numbers of the photographs of each person.
    limit: largest angle between two heads that count as alike.
    """

    def __init__(self, poses: Tensor, people: Sequence[Sequence[int]], limit: float) -> None:
        self.poses, self.limit = poses, limit
        self.photos = torch.tensor([photo for photos in people for photo in photos])
        self.owners = torch.tensor([person for person, photos in enumerate(people) for _ in photos])

    def left_out(self) -> str:
        """How many photographs have no pose, for the end of a line; empty if none."""
        unknown = int(self.poses[self.photos].isnan().any(1).sum())
        return f"; {unknown} of {len(self.photos)} to train with have no landmarks and are paired in any pose" * bool(
            unknown
        )

    def near(self, photo: int, others: Sequence[int]) -> list[int]:
        """Those of some photographs that may go with this one; all of them if its pose is unknown."""
        known = not self.poses[photo].isnan().any()
        return [other for other in others if not known or self._angle(photo, torch.tensor(other)) <= self.limit]

    def draw(self, person: int, photo: int, draw: torch.Generator) -> tuple[int, int]:
        """Another person and a photograph that goes with this one of `person`: the nearest if none is near enough."""
        other, angle = self.owners != person, self._angle(photo, self.photos)
        fitting = other & (angle <= self.limit)
        if not fitting.any():
            fitting = other & (angle == angle[other].nan_to_num(torch.inf).min())
        places = (fitting if fitting.any() else other).nonzero().squeeze(1)
        place = places[below(len(places), draw)]
        return int(self.owners[place]), int(self.photos[place])

    def _angle(self, photo: int, others: Tensor) -> Tensor:
        return (self.poses[others] - self.poses[photo]).norm(dim=-1)
