"""Turned faces, profiles: those that are turned so far to a side that what a student makes of them would sit askew."""

from torch import Tensor

from idn.geometry.head_pose import head_pose

MOST_YAW = 40.0
"""Degrees, as `head_pose` tells them of five landmarks, which overrates larger angles; see docs/swap.md for what was
looked at."""
FADE = 5.0
"""Degrees before that over which a swap fades out in a video, so that a turning head does not flip between faces."""


def yaw_of(landmarks: Tensor) -> float:
    """How far a face is turned to either side, in degrees; not finite where landmarks show none. landmarks: (5, 2)."""
    return abs(float(head_pose(landmarks)[0]))


def facing(landmarks: Tensor, most_yaw: float | None) -> float:
    """How much of a swap shows in a video, in [0, 1]: all of it on a face that is turned less than `most_yaw` - FADE.

    landmarks: (5, 2).
    most_yaw: degrees from which nothing shows; None for no bound.
    """
    if most_yaw is None:
        return 1.0
    yaw = yaw_of(landmarks)
    return min(1.0, (most_yaw - yaw) / FADE) if yaw < most_yaw else 0.0


def said_of_turned(count: int, most_yaw: float | None) -> str:
    """What is said of a picture whose chosen faces, so many, are all turned too far."""
    faces = "a face that is" if count == 1 else f"{count} faces that are"
    return f"shows {faces} turned by more than {most_yaw:g} degrees to a side (most_yaw)"
