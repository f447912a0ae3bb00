"""The demo's swaps and its server, without a browser."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data.alignment.detector import Face
from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.errors import OptionError, UserError
from idn.provenance.metadata import said_by_picture, says_synthetic
from idn.provenance.stamp import Stamp
from idn.provenance.watermark_search import find_mark
from idn.students.mobilefaceswap.student import Student
from idn.swap.swapper import Swapper
from tests.raising import raises

SIZE = 64


@pytest.fixture(scope="module")
def swapper() -> Swapper:
    torch.manual_seed(0)
    encoder = TrainedMobileFaceNet(None, "ffhq")
    return Swapper(Student(describe_encoder(encoder), width=0.25), encoder, "ffhq", SIZE)


@pytest.fixture
def swapping(swapper: Swapper, tmp_path: Path):
    from idn.demo.swapping import Swapping

    (tmp_path / "student.safetensors").write_bytes(b"stands for a student")
    return Swapping({"ours": tmp_path / "student.safetensors"}, lambda path: swapper, Stamp())


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


@pytest.fixture
def crop() -> bytes:
    noise = np.random.default_rng(0).integers(60, 200, (6, 6, 3), dtype=np.uint8)
    return png(np.asarray(Image.fromarray(noise).resize((128, 128), Image.Resampling.BICUBIC)))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_swap_of_crops_shows_everything(swapping, crop: bytes) -> None:
    from idn.demo.swapping import PARTS

    answer = swapping.swap("ours", crop, crop, aligned=True)
    assert opened(answer.picture).size == (SIZE, SIZE)
    said = said_by_picture(opened(answer.picture))
    assert says_synthetic(said) and said["Student"] == "ours" and len(said["Model"]) == 71
    assert {*answer.views} == {"source", "target", "result", "mask"}
    assert all(opened(view).size == (SIZE, SIZE) for view in answer.views.values())
    assert all(says_synthetic(said_by_picture(opened(view))) for view in answer.views.values())
    assert [*answer.seconds] == list(PARTS) and min(answer.seconds.values()) >= 0
    assert -1 <= answer.similarity <= 1 and answer.before == pytest.approx(1, abs=0.05)


def test_a_swap_of_photographs_pastes_into_them(swapping, swapper: Swapper, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(60, 200, (8, 8, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(noise).resize((300, 260), Image.Resampling.BICUBIC))
    box = torch.tensor([60, 60, 180, 180], dtype=torch.float64)
    points = torch.tensor([[95, 100], [145, 100], [120, 130], [100, 155], [140, 155]], dtype=torch.float64)
    monkeypatch.setattr(swapper, "detector", lambda photo: [Face(box, points, 0.99)])
    monkeypatch.setattr(swapper.encoder, "drawn_only", False)
    answer = swapping.swap("ours", png(pixels), png(pixels), aligned=False)
    result = np.asarray(opened(answer.picture)).astype(int)
    assert result.shape == pixels.shape and find_mark([result.astype(np.uint8)], resized=False).found
    assert np.abs(result - pixels)[:, :15].max() <= 9  # the mark alone
    assert np.abs(result - pixels)[90:150, 90:150].mean() > 5


def test_bad_pictures_are_one_sentence_each(swapping, crop: bytes) -> None:
    wide = png(np.zeros((20, 30, 3), np.uint8))
    with raises(UserError, "source", "yet"):
        swapping.swap("ours", b"", crop, aligned=True)
    with raises(UserError, "target", "is not JPEG"):
        swapping.swap("ours", crop, b"text", aligned=True)
    frames = [Image.new("RGB", (16, 16), (80 * k, 0, 0)) for k in range(3)]
    frames[0].save(moving := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    with raises(UserError, "source", "animation of 3"):
        swapping.swap("ours", moving.getvalue(), crop, aligned=True)
    with raises(UserError, "30 x 20"):
        swapping.swap("ours", wide, crop, aligned=True)
    with raises(UserError, "drawn faces only"):
        swapping.swap("ours", crop, crop, aligned=False)
    with raises(UserError, "theirs", "ours"):
        swapping.swap("theirs", crop, crop, aligned=True)
    from idn.demo.swapping import Swapping

    with raises(OptionError, argument="students"):
        Swapping({}, lambda path: None, Stamp())


@pytest.fixture
def client(swapping):
    pytest.importorskip("starlette", reason="the demo needs the extra demo")
    pytest.importorskip("httpx", reason="Starlette's test client needs httpx")
    from starlette.testclient import TestClient

    from idn.demo.server import Demo

    return TestClient(Demo(swapping, drawn_size=64).app(), base_url="http://localhost")


def files(crop: bytes) -> dict[str, tuple[str, bytes, str]]:
    return {what: (f"{what}.png", crop, "image/png") for what in ("source", "target")}


def test_nothing_works_before_consent(client, crop: bytes) -> None:
    for answer in (
        client.get("/api/students"),
        client.get("/api/drawn"),
        client.post("/api/swap", files=files(crop)),
        client.post("/api/swap", files=files(crop), headers={"X-Consent": "guessed"}),
        client.post("/api/consent", json={"accepted": False}),
        client.post("/api/consent", content=b"no json"),
    ):
        assert answer.status_code == 403 and answer.json() == {"error": "accept the notice first"}


def test_after_consent_pictures_are_swapped(client, crop: bytes) -> None:
    headers = {"X-Consent": client.post("/api/consent", json={"accepted": True}).json()["token"]}
    assert client.get("/api/students", headers=headers).json() == [{"name": "ours", "drawn_only": True}]
    assert {*client.get("/api/drawn", headers=headers).json()} == {"source", "target"}
    fields = {"student": "ours", "aligned": "true"}
    answer = client.post("/api/swap", files=files(crop), data=fields, headers=headers)
    assert answer.status_code == 200 and answer.json()["picture"].startswith("data:image/png;base64,")
    wrong = client.post("/api/swap", files=files(b"text"), data=fields, headers=headers)
    assert wrong.status_code == 422 and "is not JPEG" in wrong.json()["error"]
    large = {**headers, "Content-Length": str(65 << 20)}
    assert client.post("/api/swap", content=b"", headers=large).status_code == 413


def test_the_notice_promises_marks_only_where_there_are_any(client, swapping) -> None:
    from starlette.testclient import TestClient

    from idn.demo.server import Demo

    assert "invisible mark" in client.get("/").text
    swapping.stamp = Stamp(enabled=False)
    said = TestClient(Demo(swapping).app(), base_url="http://localhost").get("/").text
    assert "invisible mark" not in said and "you have to" in said


def test_the_page_loads_nothing_from_elsewhere_and_answers_no_other_host(client) -> None:
    for path in ("/", "/page.css", "/page.js"):
        answer = client.get(path)
        assert answer.status_code == 200 and "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "http://" not in answer.text and "https://" not in answer.text
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/../pyproject.toml").status_code == 404
    assert "Access-Control-Allow-Origin" not in client.get("/", headers={"Origin": "http://evil.example"}).headers
    assert json.loads(client.post("/api/swap").text)["error"]
