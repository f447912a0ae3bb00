"""Damage to files and values, drawn from a seed: what a disk, a download or a stranger does to them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ODD: tuple[Any, ...] = (None, True, -1, 0, 1, 2**40, -0.5, 1e400, "", "x", "../..", [], [1], {}, {"a": 1}, "nan")
"""Values that hardly anything expects."""


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def _flip(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    early = draw.random() < 0.7  # headers say more than pixels and weights
    for _ in range(draw.choice((1, 2, 8, 64))):
        changed[draw.randrange(min(len(changed), 512) if early else len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _erase(draw: random.Random, content: bytes) -> bytes:
    first = draw.randrange(len(content))
    last = min(len(content), first + draw.choice((1, 16, 4096)))
    return content[:first] + bytes(last - first) + content[last:]


def _insert(draw: random.Random, content: bytes) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + draw.randbytes(draw.choice((1, 7, 300))) + content[place:]


def _drop(draw: random.Random, content: bytes) -> bytes:
    first = draw.randrange(len(content))
    return content[:first] + content[first + draw.choice((1, 4, 500)) :]


def _double(draw: random.Random, content: bytes) -> bytes:
    return content + content[draw.randrange(len(content)) :]


def _other(draw: random.Random, content: bytes) -> bytes:
    return draw.choice(
        (b"", b"\x00", b"<html>404</html>", b"version https://git-lfs", draw.randbytes(200), b"PK\x03\x04")
    )


WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut,
    _flip,
    _flip,
    _erase,
    _insert,
    _drop,
    _double,
    _other,
)


def damaged(draw: random.Random, content: bytes) -> bytes:
    """The content of a file after one or two accidents."""
    for _ in range(draw.choice((1, 1, 2))):
        content = draw.choice(WAYS)(draw, content) or b"\x00"
    return content


def altered(draw: random.Random, value: Any) -> Any:
    """A parsed JSON value, or a part of a checkpoint, with one of its parts replaced, removed or renamed."""
    if isinstance(value, torch.Tensor) and draw.random() < 0.85:
        return draw.choice((value[None], value.flatten()[1:], value.double() * 1e30, value.bool()))
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(sorted(value, key=str))
        rest = {name: item for name, item in value.items() if name != key}
        way = draw.random()
        if way < 0.1:
            return rest
        return rest | ({f"{key}_": value[key]} if way < 0.2 else {key: altered(draw, value[key])})
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], altered(draw, value[place]), *value[place + 1 :]]
    return draw.choice(ODD)


def rewrite_json(draw: random.Random, path: Path) -> None:
    """Replace a JSON file by an altered one."""
    path.write_text(json.dumps(altered(draw, json.loads(path.read_text()))))


def rewrite_checkpoint(draw: random.Random, path: Path) -> None:
    """Alter what a checkpoint holds: another value, another shape, another name, or nothing."""
    torch.save(altered(draw, torch.load(path, weights_only=True)), path)


def rewrite_safetensors(draw: random.Random, path: Path) -> None:
    """Alter the header of a safetensors file: names, shapes, types or metadata, some of it JSON in JSON."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    notes = header.get("__metadata__", {})
    if notes and draw.random() < 0.7:
        name = draw.choice(sorted(notes))
        try:
            notes[name] = json.dumps(altered(draw, json.loads(notes[name])))
        except ValueError:
            notes[name] = draw.choice(("", "x", "-1", "999999999999", "{}", "null"))
        if draw.random() < 0.2:
            del notes[name]
    elif tensors := sorted(name for name in header if name != "__metadata__"):
        name = draw.choice(tensors)
        entry = header.pop(name)
        if draw.random() < 0.5:
            entry["shape"] = entry["shape"][::-1] if draw.random() < 0.5 else [*entry["shape"], 1]
        else:
            name = f"{name}{draw.choice(('_', '.weight', ' '))}"
        header[name] = entry
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
