"""Who may import whom: dependencies run in one direction."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"types", "images", "geometry", "frozen", "errors", "weights", "pickles", "onnx_graph", "watermark"}
BASE |= {
    "given",
    "cache_manifest",
    "shards",
    "machine",
    "folders",
    "devices",
    "alpha",
    "whole",
    "torch_programs",
    "timm_models",
}
PACKAGES = {
    "models",
    "identity",
    "losses",
    "metrics",
    "data",
    "teachers",
    "discriminators",
    "perceptual",
    "scorer",
    "ema",
    "schedule",
    "memory",
    "picture",
}
ABOVE = {
    "export": {"models", "memory"},
    "identify": {"data"},
    "benching": {"export"},
    "products": {"data", "export", "models"},
    "exporting": {"data", "export", "models", "products"},
    "cache": {"data", "metrics", "cache_report"},
    "cache_report": {"data"},
    "processes": set(),
    "guard": {"processes"},
    "optimizers": set(),
    "checkpoint": set(),
    "curve": set(),
    "validation": {"metrics"},
    "resume": {"curve"},
    "distill": {"losses", "metrics", "ema", "guard", "optimizers", "checkpoint", "validation"},
    "swapper": {"losses", "metrics", "ema", "guard", "optimizers", "checkpoint", "validation", "processes"},
    "recognition": {"losses", "guard", "optimizers"},
    "callbacks": {"picture", "checkpoint"},
    "progress": set(),
    "trust": {"losses", "scorer"},
    "rated": {"data", "metrics"},
    "quality": {"rated", "scorer", "guard", "optimizers"},
    "outcome": {"quality", "scorer", "summary", "swapper"},
    "run": {
        "callbacks",
        "checkpoint",
        "data",
        "distill",
        "identity",
        "outcome",
        "quality",
        "recognition",
        "resume",
        "scorer",
        "summary",
        "swapper",
    },
    "children": set(),
    "pipeline": {"children"},
    "summary": set(),
    "importing": {"models", "identity"},
}
FREE = {"cli", "__main__", "__init__"}


def files() -> list[Path]:
    return sorted([*(ROOT / "idn").rglob("*.py"), *(ROOT / "teachers").rglob("*.py")])


def unit(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "teachers" if parts[0] == "teachers" else parts[1]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_in_one_direction(path: Path) -> None:
    here = unit(path)
    if here in FREE:
        return
    names = imported(path)
    ours = {name.split(".")[1] for name in names if name.startswith("idn.")}
    assert not any(name.split(".")[0] == "teachers" for name in names) or here == "teachers"
    assert not any(name.split(".")[0] in {"hydra", "omegaconf", "wandb"} for name in names)
    if here in BASE:
        assert ours <= BASE
    elif here in PACKAGES:
        assert ours <= BASE | {here}
    else:
        assert here in ABOVE, f"say in this test what idn/{here} may import"
        assert ours <= BASE | {here} | ABOVE[here]


def test_idn_imports_without_hydra_or_tracking_tools() -> None:
    import subprocess
    import sys

    code = "import sys, idn.distill; assert not {'hydra', 'wandb', 'tensorboard'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
