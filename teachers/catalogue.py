"""What is known of every teacher before its file is read: size, terms of use, costs. Comes without PyTorch."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Declared(NamedTuple):
    """What a teacher says of itself."""

    size: int | None
    """Pixels at which it works; None: those of the crops, or nobody knows yet."""
    licence: str
    """Of its weights."""
    commercial: bool | None
    """Whether that allows commercial use; None if nobody knows."""


class Costs(NamedTuple):
    """What a teacher asks of a machine. None where nobody knows, or where there is nothing to count."""

    parameters: int | None = None
    """Of the swapper alone, without identity networks."""
    gmacs: float | None = None
    """10^9 multiply-accumulates for one face."""


_CODE = Declared(None, "Apache-2.0 (no weights)", True)
FAMILIES: dict[str, Declared] = {
    "procedural": _CODE,
    "blend": _CODE,
    "truth": _CODE,
    "target_itself": _CODE,
    "trained_here": Declared(None, "as you declared when you trained it", None),
    "ensemble": Declared(None, "those of its members", None),
    "cached": Declared(None, "that of the teacher", None),
    "simswap plain": Declared(None, "CC-BY-NC-4.0", False),
    "simswap beta": Declared(None, "CC-BY-NC-4.0", False),
    "simswap deep": Declared(None, "unknown (community)", None),
    "faceshifter": Declared(256, "your own weights; code BSD-3-Clause", None),
    "ghost": Declared(256, "Apache-2.0; identity network non-commercial", False),
    "hififace": Declared(256, "BSD-3-Clause; face model (BFM) academic only", False),
    "inswapper": Declared(128, "insightface: non-commercial research", False),
}
"""By the module of a teacher whose record no config states; the records of those modules are made of these."""

COSTS: dict[str, Costs] = {
    "simswap_224": Costs(55_051_779, 48.1),
    "simswap_512": Costs(55_079_427, 70.1),
    "simswap_512_deep": Costs(59_773_443, 133.0),
    "faceshifter": Costs(439_313_606, 110.8),
    "ghost_1block": Costs(128_469_133, 16.3),
    "ghost_2blocks": Costs(184_343_381, 31.0),
    "ghost_3blocks": Costs(240_217_629, 45.7),
    "hififace": Costs(57_596_438, 48.5),
    "inswapper_128": Costs(138_290_000, 174.6),
    "inswapper_128_fp16": Costs(138_290_000, 174.6),
    "onnx_ghost_1_256": Costs(128_469_133, 16.3),
    "onnx_ghost_2_256": Costs(184_343_381, 31.0),
    "onnx_hyperswap_1a_256": Costs(201_241_910),
    "onnx_hyperswap_1b_256": Costs(201_241_910),
    "onnx_hyperswap_1c_256": Costs(201_241_910),
    "onnx_inswapper_128": Costs(138_290_000, 174.6),
    "onnx_inswapper_128_fp16": Costs(138_290_000, 174.6),
    "onnx_simswap_256": Costs(55_051_779, 62.8),
    "onnx_simswap_unofficial_512": Costs(59_773_443, 133.0),
}
"""By the name of a file in conf/teacher. Counted from the layers; tests check those that are rebuilt here."""


def declared(options: Mapping[str, Any]) -> Declared:
    """What a config says of its teacher, by its record or by what it builds.

    options: the config as plain values in nested dicts, _target_ included; a missing value is "???".
    """
    if "record" in options:
        record = options["record"]
        size, licence = record["target"]["size"], record["licence"]
        stated = None if licence in (None, "???") else licence
        return Declared(size if isinstance(size, int) else None, stated or "as you declare", record["commercial"])
    family = options["_target_"].split(".")[-2]
    if "architecture" in options:
        return FAMILIES[f"{family} {options['architecture']}"]._replace(size=options["size"])
    return FAMILIES.get(family, Declared(None, "not stated", None))
