"""The page of the demo in a headless Chromium, with real clicks: `idn demo` as a newcomer starts it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from idn.encoders.description import describe_encoder
from idn.encoders.trained import TrainedMobileFaceNet
from idn.provenance.inspection import inspect_file
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PATIENCE = 240_000
"""Milliseconds that a busy machine may take for one thing."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium, or $CHROMIUM"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`idn demo` with a random student of drawn faces, on a free port."""
    pytest.importorskip("uvicorn", reason="the demo needs the extra demo")
    folder = tmp_path_factory.mktemp("demo")
    encoder = TrainedMobileFaceNet(None, "ffhq")
    torch.manual_seed(0)
    student = Student(describe_encoder(encoder), width=0.25)
    save_student(student, folder / "drawn.safetensors", {"template": "ffhq", "size": "64"})
    command = [sys.executable, "-m", "idn", "demo", str(folder / "drawn.safetensors"), "port=0", "device=cpu"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    try:
        line = server.stdout.readline()
        yield re.search(r"http://localhost:\d+", line)[0]
    finally:
        server.terminate()
        server.wait(60)
    assert [path.name for path in folder.iterdir()] == ["drawn.safetensors"]  # nothing is left behind


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, which may ask nobody but the demo."""
    opened = browser.new_page(viewport={"width": 1100, "height": 1000})
    opened.set_default_timeout(PATIENCE)
    asked, errors = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(address)
    yield opened
    opened.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def accept(page: Any) -> None:
    page.check("#agree")
    page.click("#accept")
    page.wait_for_selector("#work", state="visible")


def says(page: Any, words: str) -> None:
    """Wait until the page says so; by a locator, since the page lets nobody evaluate strings in it."""
    page.locator("#status", has_text=words).wait_for()


def saved(page: Any, tmp_path: Path) -> Path:
    says(page, "Done")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "swapped.png")
    return tmp_path / "swapped.png"


def test_nothing_can_be_done_before_the_notice_is_accepted(page: Any) -> None:
    assert page.is_visible("#notice") and not page.is_visible("#work")
    assert page.is_disabled("#accept")
    page.keyboard.press("Escape")
    assert page.is_visible("#notice")
    page.check("#agree")
    assert page.is_enabled("#accept")
    page.uncheck("#agree")
    assert page.is_disabled("#accept")


def test_two_drawn_people_are_swapped_and_saved(page: Any, tmp_path: Path) -> None:
    accept(page)
    assert page.is_checked("#aligned") and page.is_disabled("#aligned")
    page.click("#swap")
    page.wait_for_selector("#status.wrong")
    page.click("#draw")
    page.wait_for_selector("#target img", state="visible")
    page.click("#swap")
    report = inspect_file(saved(page, tmp_path))
    assert report.synthetic and report.said["Student"].endswith("drawn.safetensors")
    assert page.locator("#views figure").count() == 4
    assert page.locator("#times tr").count() == 6
    if folder := os.environ.get("IDN_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/demo.png", full_page=True)


def test_files_and_camera_give_pictures_and_errors_are_told(page: Any, tmp_path: Path) -> None:
    accept(page)
    Image.new("RGB", (90, 90), (200, 150, 120)).save(tmp_path / "face.png")
    (tmp_path / "text.png").write_text("no picture")
    page.set_input_files("#source .file", tmp_path / "face.png")
    page.set_input_files("#target .file", tmp_path / "text.png")
    page.click("#swap")
    says(page, "the target cannot be read (it is not JPEG, PNG")
    page.set_input_files("#target .file", tmp_path / "face.png")
    page.click("#swap")
    assert Image.open(saved(page, tmp_path)).size == (64, 64)
    page.click("#source .camera")
    until = time.monotonic() + PATIENCE / 1000
    while not page.evaluate("document.querySelector('#source video').videoWidth") and time.monotonic() < until:
        page.wait_for_timeout(200)
    page.click("#source .camera")
    page.wait_for_selector("#source img", state="visible")
    page.click("#swap")
    says(page, "square")
