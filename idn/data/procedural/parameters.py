"""Parameter vectors: what every number of an identity and of an attribute vector means, and how they are read.

A vector holds one value in [-1, 1] per row of its table (values beyond are clamped); -1 gives `low`, 1 gives `high`, 0
the mean. Lengths are in crop widths, angles in degrees, tones in [0, 1] along a palette, everything else has no unit.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Dim(NamedTuple):
    """One row of a table."""

    name: str
    low: float
    high: float
    meaning: str


IDENTITY: tuple[Dim, ...] = (
    Dim("face_width", 0.252, 0.308, "half width at the cheekbones"),
    Dim("chin_y", 0.375, 0.435, "lower end of the face"),
    Dim("jaw_taper", 0.46, 0.10, "how fast the face narrows towards the chin"),
    Dim("jaw_square", 0.15, 0.95, "round to angular jaw"),
    Dim("forehead", 0.0, 0.050, "flat to domed forehead"),
    Dim("chin_relief", 0.0, 0.045, "how far the chin stands out"),
    Dim("cheekbones", 0.0, 0.048, "how far the cheekbones stand out"),
    Dim("brow_ridge", 0.0, 0.034, "how far the bone above the eyes stands out"),
    Dim("eye_x", 0.109, 0.137, "half distance of the eyes"),
    Dim("eye_y", -0.046, -0.016, "height of the eyes"),
    Dim("eye_width", 0.047, 0.064, "half width of an eye"),
    Dim("eye_round", 0.30, 0.56, "height of an eye over its width"),
    Dim("eye_tilt", -9.0, 12.0, "slope from the inner to the outer corner, upwards"),
    Dim("eye_depth", 0.010, 0.040, "depth of the eye sockets"),
    Dim("lid_fold", 0.0, 0.026, "height of the fold above the lid; 0 hides it"),
    Dim("iris_tone", 0.0, 1.0, "brown, hazel, green, blue, grey"),
    Dim("iris_light", 0.60, 1.35, "brightness of the iris"),
    Dim("brow_y", 0.064, 0.098, "height of the brows above the eyes"),
    Dim("brow_thick", 0.0065, 0.0215, "half thickness of the brows"),
    Dim("brow_arch", 0.0, 0.040, "straight to arched brows"),
    Dim("brow_slope", -0.22, 0.22, "brows falling or rising outwards"),
    Dim("brow_length", 0.070, 0.096, "half length of a brow"),
    Dim("brow_tone", 0.0, 1.0, "black, brown, auburn, blond, grey brows"),
    Dim("nose_y", 0.094, 0.134, "height of the nose tip"),
    Dim("nose_width", 0.034, 0.062, "half distance of the nostril wings"),
    Dim("nose_height", 0.045, 0.095, "how far the tip stands out"),
    Dim("nose_bridge", 0.004, 0.040, "height of the bridge between the eyes"),
    Dim("nose_bridge_width", 0.032, 0.056, "half width of the bridge"),
    Dim("nose_bulb", 0.0, 0.034, "pointed to round tip"),
    Dim("mouth_width", 0.092, 0.126, "half width of the mouth at rest"),
    Dim("mouth_y", 0.209, 0.241, "height of the mouth"),
    Dim("upper_lip", 0.012, 0.036, "height of the upper lip"),
    Dim("lower_lip", 0.016, 0.046, "height of the lower lip"),
    Dim("cupid_bow", 0.0, 0.60, "depth of the dip in the upper lip"),
    Dim("lip_tone", 0.0, 1.0, "natural, rose, red, plum, brown lips"),
    Dim("skin_tone", 0.0, 1.0, "light to dark skin"),
    Dim("skin_warmth", -0.45, 1.0, "pink to golden undertone"),
    Dim("blush", 0.0, 0.52, "redness of the cheeks"),
    Dim("freckles", -0.75, 0.9, "density of freckles; below 0 none"),
    Dim("freckle_place", -0.25, 0.25, "which freckles"),
    Dim("mole_x", -0.17, 0.17, "place of the larger mole"),
    Dim("mole_y", 0.03, 0.19, "place of the larger mole"),
    Dim("mole_size", -0.006, 0.013, "radius of the moles; below 0 none"),
    Dim("beard", -0.9, 0.9, "density of the beard shadow; below 0 none"),
    Dim("wrinkles", -0.5, 1.0, "forehead lines and folds beside the nose; below 0 none"),
)
"""Rows of an identity vector, in order. Everything here lies inside the face mask of a render."""

ATTRIBUTES: tuple[Dim, ...] = (
    Dim("yaw", -32.0, 32.0, "head turned to the image left or right"),
    Dim("pitch", -14.0, 14.0, "head looking up or down"),
    Dim("roll", -10.0, 10.0, "head tilted in the image plane"),
    Dim("shift_x", -0.02, 0.02, "framing error"),
    Dim("shift_y", -0.02, 0.02, "framing error"),
    Dim("zoom", 0.95, 1.05, "framing error"),
    Dim("smile", -0.55, 1.0, "corners of the mouth down or up"),
    Dim("mouth_open", -0.8, 1.0, "opening of the mouth; below 0 closed"),
    Dim("brow_raise", -0.010, 0.018, "lift of the brows"),
    Dim("eye_close", -0.15, 0.55, "lids falling"),
    Dim("gaze_x", -0.45, 0.45, "shift of the iris over the eye width"),
    Dim("gaze_y", -0.25, 0.25, "shift of the iris over the eye height"),
    Dim("light_x", -55.0, 55.0, "azimuth of the light"),
    Dim("light_y", 0.0, 50.0, "elevation of the light"),
    Dim("light_key", 0.45, 0.95, "share of the directed light"),
    Dim("light_warmth", -0.10, 0.10, "cold to warm light"),
    Dim("top_red", 0.05, 0.95, "background colour at the top"),
    Dim("top_green", 0.05, 0.95, "background colour at the top"),
    Dim("top_blue", 0.05, 0.95, "background colour at the top"),
    Dim("low_red", 0.05, 0.90, "background colour at the bottom"),
    Dim("low_green", 0.05, 0.90, "background colour at the bottom"),
    Dim("low_blue", 0.05, 0.90, "background colour at the bottom"),
    Dim("backdrop_blobs", 0.0, 0.9, "contrast of the blurred shapes behind the head"),
    Dim("backdrop_place", -0.55, 0.55, "which shapes"),
    Dim("cloth_red", 0.05, 0.85, "colour of the high collar"),
    Dim("cloth_green", 0.05, 0.85, "colour of the high collar"),
    Dim("cloth_blue", 0.05, 0.85, "colour of the high collar"),
    Dim("collar", 0.150, 0.215, "half width of the collar"),
    Dim("hair_tone", 0.0, 1.0, "black, brown, auburn, blond, grey hair"),
    Dim("hair_length", -0.10, 0.62, "where the hair ends"),
    Dim("hair_volume", 0.0, 0.055, "how far the hair stands off the head"),
    Dim("hair_line", -0.330, -0.225, "height of the hairline"),
    Dim("hair_fringe", -1.0, 1.0, "length of the fringe; below 0 none"),
    Dim("hair_sides", 0.0, 1.0, "bare temples to framed cheeks"),
    Dim("hair_part", -0.14, 0.14, "place of the parting"),
    Dim("hair_strands", -0.5, 0.5, "which strands"),
    Dim("glasses", -1.0, 1.0, "worn if above 0"),
    Dim("glasses_size", 0.074, 0.094, "half width of a lens"),
    Dim("glasses_round", 0.0, 1.0, "rectangular to round lenses"),
    Dim("glasses_tone", 0.02, 0.45, "dark to light frame"),
    Dim("glasses_tint", 0.03, 0.32, "darkness of the lenses"),
    Dim("occluder", -1.0, 1.0, "below 0 none, then bar, ball, hand"),
    Dim("occluder_x", -0.38, 0.38, "place of the occluder"),
    Dim("occluder_y", -0.10, 0.42, "place of the occluder"),
    Dim("occluder_angle", -180.0, 180.0, "direction of the occluder"),
    Dim("occluder_size", 0.028, 0.052, "half thickness of the occluder"),
    Dim("occluder_red", 0.06, 0.85, "colour of the occluder"),
    Dim("occluder_green", 0.06, 0.75, "colour of the occluder"),
    Dim("occluder_blue", 0.06, 0.75, "colour of the occluder"),
    Dim("exposure", 0.86, 1.14, "brightness of the camera"),
    Dim("white_balance", -0.07, 0.07, "cold to warm camera"),
    Dim("blur", -0.15, 0.22, "weight of the neighbouring pixels; below 0 sharp"),
    Dim("noise", 0.0, 0.022, "standard deviation of the pixel noise"),
    Dim("noise_place", 0.0, 1.0, "which noise"),
)
"""Rows of an attribute vector, in order. A swap keeps all of them."""


class Traits:
    """Vectors read by name, as physical values."""

    def __init__(self, table: tuple[Dim, ...], vectors: Tensor) -> None:
        """vectors: (N, len(table)). Raises ValueError on another shape."""
        if vectors.ndim != 2 or vectors.shape[1] != len(table):
            raise ValueError(f"expected vectors of shape (N, {len(table)}), got {tuple(vectors.shape)}")
        self._table, self._vectors = table, vectors
        low = vectors.new_tensor([dim.low for dim in table])
        high = vectors.new_tensor([dim.high for dim in table])
        values = torch.lerp(low, high, vectors.clamp(-1, 1) / 2 + 0.5)
        self._columns = {dim.name: values[:, i, None, None] for i, dim in enumerate(table)}

    def __getitem__(self, name: str) -> Tensor:
        """The values of one row, (N, 1, 1), ready to broadcast against pixels."""
        return self._columns[name]

    def take(self, samples: Tensor) -> "Traits":
        """The vectors of some samples, by index (K,)."""
        return Traits(self._table, self._vectors[samples])

    def color(self, *names: str) -> Tensor:
        """Three rows as one linear colour, (N, 3, 1, 1), of moderate saturation."""
        color = torch.stack([self[name] for name in names], 1)
        return torch.lerp(color, color.mean(1, keepdim=True), 0.5).square()


def index(table: tuple[Dim, ...], name: str) -> int:
    """Position of the row called `name`. Raises ValueError if there is none."""
    return [dim.name for dim in table].index(name)


def uniform(table: tuple[Dim, ...], n: int, generator: torch.Generator) -> Tensor:
    """(n, len(table)) independent values in [-1, 1)."""
    return torch.rand(n, len(table), generator=generator, device=generator.device) * 2 - 1
