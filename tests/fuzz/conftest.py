"""How much is tried: about 1,200 inputs in a minute or two by default, 14,000 where slow tests are wanted."""

import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SEED = 20_260_101


class Shell:
    """A pickle of it runs a command when somebody opens it as pickles are opened."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.canary,)


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Numbers that follow from the name of the test alone."""
    return random.Random(SEED + zlib.crc32(request.node.name.encode()))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that only code out of an input can make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of an input was run"
