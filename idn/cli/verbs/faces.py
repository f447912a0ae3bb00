"""Verb that says where faces are: `idn faces`."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from idn.cli.instantiate import build
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_bool, require_number


def faces(cfg: DictConfig) -> None:
    """Print the faces of photographs with their landmarks. Exit status 1 if one shows none, 2 if one cannot be read."""
    from idn.data.alignment.every_face import EveryFace
    from idn.swap.still import open_photo

    for name in ("largest", "json"):
        require_bool(name, cfg[name])
    require_number("least", cfg.least, 8)
    photos = [Path(str(path)) for path in (cfg.photos if OmegaConf.is_list(cfg.photos) else [cfg.photos])]
    if not photos:
        raise OptionError("photos", "[]", "names no photograph: give one or more")
    detector = EveryFace(build(cfg.detector), float(cfg.least))
    records, status = [], 0
    for path in photos:
        try:
            if not path.is_file():
                raise OptionError("photos", path, "is not a file: give photographs")
            found = detector(open_photo(path))
        except UserError as error:  # the other photographs are looked at all the same
            print(f"idn: {error}", file=sys.stderr)
            status = 2
            continue
        status = max(status, not found)
        record = _record(path, found[:1] if cfg.largest else found)
        records.append(record)
        if not cfg.json:
            print("\n".join(_lines(record, cfg.largest)))
    if cfg.json:
        print(json.dumps(records, indent=1))
    if status:
        sys.exit(int(status))


def _record(path: Path, found: list[Any]) -> dict[str, Any]:
    """What is said of one photograph, made of what JSON holds."""
    from idn.swap.turned_faces import yaw_of

    return {
        "file": str(path),
        "faces": [
            {
                "landmarks": [[round(value, 2) for value in point] for point in face.landmarks.tolist()],
                "box": [round(value, 1) for value in face.box.tolist()],
                "score": round(face.score, 3),
                "yaw": round(yaw_of(face.landmarks)),
            }
            for face in found
        ],
    }


def _lines(record: dict[str, Any], bare: bool) -> list[str]:
    """The same for people, or, `bare`, as other programs take landmarks from a command line."""
    numbers = [",".join(str(value) for point in face["landmarks"] for value in point) for face in record["faces"]]
    if bare:
        return numbers
    said = [f"  {text}  turned by {face['yaw']}" for text, face in zip(numbers, record["faces"], strict=True)]
    return [f"{record['file']}: {len(numbers)} {'face' if len(numbers) == 1 else 'faces'}", *said]
