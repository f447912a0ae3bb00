"""Options that only pass on what another one says."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "out=report", "data.size=128"], "data.size=128 is no option here: say protocol.size=128"),
        (["eval", "out=report", "data.template=ffhq"], "data.template=ffhq is no option here: say protocol.template="),
        (["triplets", "dst=made", "people=2", "data.size=128"], "data.size=128 is no option here: say size=128"),
        (["swap", "weights=s", "source=a.png", "target=a.png", "out=b.png", "data.size=128"], "say size=128"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_option_to_write_is_named(words: list[str], said: str, idn_cli, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    status, out, err = idn_cli(*words)
    assert status == 2 and said in err, out + err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
