"""The page of an evaluation: every picture once, named with its number, and no more of them than can be sent around."""

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest

from idn.evaluation.parts import Parts
from idn.evaluation.report import page
from idn.evaluation.report.summary import read_judged, summarise
from tests.evaluation.test_evaluate import Mixed, Noise, evaluation

PAIRS = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    methods = [Mixed("whole", 1.0), Mixed("half", 0.5, spoil="t3")]
    evaluation(out, methods, pair_set=Noise(count=PAIRS), landmarks=None).run()
    return out


def written(folder: Path) -> tuple[str, dict[int, bytes], list[int]]:
    """The page, its pictures by number, and the numbers of those that it shows, in order."""
    judged = read_judged(folder)
    text = page.write_page(judged, json.loads(json.dumps(summarise(judged)))).read_text()
    stored = re.findall(r'<image id="p(\d+)"[^>]*href="data:image/webp;base64,([^"]+)"', text)
    return text, {int(n): b64decode(data) for n, data in stored}, [int(n) for n in re.findall(r'href="#p(\d+)"', text)]


def test_every_picture_is_there_once_and_shown_wherever_it_belongs(folder: Path) -> None:
    text, stored, shown = written(folder)
    assert text.count("base64,") == len(stored) and set(stored) == set(shown) and len(shown) > len(stored)
    assert all(strip == Parts(folder).strip(*divmod(number, 8)) for number, strip in stored.items())
    value = read_judged(folder).column("half", "identity")
    best = max((k for k in range(PAIRS) if k != 3), key=lambda k: value[k])
    assert f"<p>t{best}_s{best}: identity {value[best]:.3f}</p>" in text
    assert "<p>t3_s3</p>" in text, "one without a picture has no number"
    assert "left out: 2 damaged" in text


def test_fewer_pictures_are_shown_before_a_page_grows_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, stored, shown = written(folder)
    most = sum(map(len, stored.values())) - 1
    monkeypatch.setattr(page, "_MOST", most)
    _, fewer, still = written(folder)
    assert sum(map(len, fewer.values())) <= most and len(still) < len(shown)
    monkeypatch.setattr(page, "_MOST", 0)
    text, least, _ = written(folder)
    assert least and all(word in text for word in ("best", "median", "worst", "no picture: pixels that are no numbers"))
