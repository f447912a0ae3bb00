"""The list of teachers fits where it is printed."""

import re

import pytest
from rich.console import Console

from teachers.catalogue import declared
from teachers.checks import listing
from teachers.checks.listing import show_catalogue

OPTIONS = {
    "blend": {"_target_": "teachers.without_weights.blend.BlendTeacher"},
    "torch_program": {"_target_": "teachers.torch_program.TorchProgramTeacher"},
    "ghost_1block": {"_target_": "teachers.published.ghost.GhostTeacher"},
    "onnx_hififace_unofficial_256": {
        "_target_": "teachers.onnx.teacher.OnnxTeacher",
        "record": {
            "licence": "unknown; identity network non-commercial",
            "commercial": False,
            "target": {"size": 256},
        },
    },
}
FILES = {
    "blend": [],
    "torch_program": [""],
    "ghost_1block": ["here/G_unet_1block.pth", "here/backbone.pth"],
    "onnx_hififace_unofficial_256": ["here/hififace_unofficial_256.onnx", "here/crossface_hififace.onnx"],
}


@pytest.mark.parametrize(("columns", "terminal"), [(80, True), (100, True), (200, True), (80, False)])
def test_nothing_is_cut_in_any_width(columns, terminal, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/backbone.pth").touch()
    monkeypatch.setattr(listing, "Console", lambda: Console(width=columns, force_terminal=terminal, color_system=None))
    show_catalogue(FILES, OPTIONS)
    *lines, last = re.sub("\x1b[^m]*m", "", capsys.readouterr().out).splitlines()
    assert last.startswith("looked in here")
    width = max(map(len, lines))
    assert width <= columns if terminal else width > columns
    text = "\n".join(lines)
    names = {file.rpartition("/")[2] for files in FILES.values() for file in files}
    for word in (*FILES, *names, "128.5 M", "16.3", "forbidden", "allowed", "your own", "yes", "no"):
        assert word in text, word
    words = re.sub(r"[│\s]+", " ", text)
    assert width > 120 or all(declared(one).licence in words for one in OPTIONS.values())
