"""Every teacher that a config file names: what it is, what it costs, whose it is."""

from typing import NamedTuple


class Entry(NamedTuple):
    """A row of `idn teachers`. None where nobody knows, or where there is nothing to count."""

    size: int | None
    """Pixels at which it works; None: those of the crops."""
    parameters: int | None
    """Of the swapper alone, without identity networks."""
    gmacs: float | None
    """10^9 multiply-accumulates for one face."""
    licence: str
    commercial: bool | None
    """Whether its licence allows commercial use."""


OURS = "Apache-2.0 (no weights)"
CC_BY_NC = "CC-BY-NC-4.0"
COMMUNITY = "unknown (community)"
GHOST = "Apache-2.0; identity network non-commercial"
FACESHIFTER = "your own weights; code BSD-3-Clause"
HIFIFACE = "BSD-3-Clause; face model (BFM) academic only"
INSIGHTFACE = "insightface: non-commercial research"
RAIL = "ResearchRAIL-MS"
"""Licences of the weights, as the teachers that are built here declare them, too."""

UNKNOWN = Entry(None, None, None, "not stated", None)
"""For a teacher that somebody added as a config of their own."""

CATALOGUE: dict[str, Entry] = {
    "procedural": Entry(None, 0, None, OURS, True),
    "blend": Entry(None, 0, None, OURS, True),
    "target_itself": Entry(None, 0, None, OURS, True),
    "torch_program": Entry(None, None, None, "as you declare", None),
    "onnx": Entry(None, None, None, "as you declare", None),
    "trained_here": Entry(None, None, None, "as you declared when you trained it", None),
    "ensemble": Entry(None, None, None, "those of its members", None),
    "cached": Entry(None, 0, 0.0, "that of the teacher", None),
    "simswap_224": Entry(224, 55_051_779, 48.1, CC_BY_NC, False),
    "simswap_512": Entry(512, 55_079_427, 70.1, CC_BY_NC, False),
    "simswap_512_deep": Entry(512, 59_773_443, 133.0, COMMUNITY, None),
    "faceshifter": Entry(256, 439_313_606, 110.8, FACESHIFTER, None),
    "ghost_1block": Entry(256, 128_469_133, 16.3, GHOST, False),
    "ghost_2blocks": Entry(256, 184_343_381, 31.0, GHOST, False),
    "ghost_3blocks": Entry(256, 240_217_629, 45.7, GHOST, False),
    "hififace": Entry(256, 57_596_438, 48.5, HIFIFACE, False),
    "inswapper_128": Entry(128, 138_290_000, 174.6, INSIGHTFACE, False),
    "inswapper_128_fp16": Entry(128, 138_290_000, 174.6, INSIGHTFACE, False),
    "onnx_blendswap_256": Entry(256, None, None, "non-commercial", False),
    "onnx_ghost_1_256": Entry(256, 128_469_133, 16.3, GHOST, False),
    "onnx_ghost_2_256": Entry(256, 184_343_381, 31.0, GHOST, False),
    "onnx_ghost_3_256": Entry(256, None, None, GHOST, False),
    "onnx_hififace_unofficial_256": Entry(256, None, None, "unknown; identity network non-commercial", False),
    "onnx_hyperswap_1a_256": Entry(256, 201_241_910, None, RAIL, False),
    "onnx_hyperswap_1b_256": Entry(256, 201_241_910, None, RAIL, False),
    "onnx_hyperswap_1c_256": Entry(256, 201_241_910, None, RAIL, False),
    "onnx_inswapper_128": Entry(128, 138_290_000, 174.6, INSIGHTFACE, False),
    "onnx_inswapper_128_fp16": Entry(128, 138_290_000, 174.6, INSIGHTFACE, False),
    "onnx_simswap_256": Entry(256, 55_051_779, 62.8, CC_BY_NC, False),
    "onnx_simswap_unofficial_512": Entry(
        512, 59_773_443, 133.0, "unknown (community), after SimSwap; identity network non-commercial", False
    ),
    "onnx_uniface_256": Entry(256, None, None, "unknown", None),
}
"""By the name of the file in conf/teacher. Counts are computed from the layers; tests check those that we rebuilt."""
