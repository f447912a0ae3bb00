"""Who may import whom: rooms, and one direction between them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"types", "images", "geometry", "frozen", "errors", "hardware"}
MAY_IMPORT = {
    "files": set(),
    "metrics": set(),
    "provenance": {"files"},
    "data": {"files"},
    "encoders": {"files"},
    "losses": {"files"},
    "students": {"files", "encoders"},
    "pipeline": {"files", "metrics"},
    "reweighting": {"files", "data", "metrics"},
    "teacher_cache": {"files", "data", "metrics"},
    "triplets": {"files", "data", "provenance"},
    "teachers": {"files", "reweighting", "teacher_cache"},
    "export": {"files", "data", "encoders", "students"},
    "video": {"files"},
    "swap": {"files", "data", "encoders", "students", "provenance", "export", "video"},
    "demo": {"files", "data", "encoders", "students", "provenance", "swap"},
    "evaluation": {"files", "data", "encoders", "metrics", "students", "export"},
    "sweeps": {"files", "metrics", "evaluation"},
    "training": {"files", "data", "encoders", "losses", "metrics", "provenance", "reweighting", "students"},
}
"""Room -> the rooms it may import beside the ground floor, where modules import each other alone."""
ANYTHING = {"cli", "__main__", "__init__"}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "teachers" else ".".join(parts[1:2])


def modules() -> list[Path]:
    return sorted([*(ROOT / "idn").rglob("*.py"), *(ROOT / "teachers").rglob("*.py")])


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_in_one_direction(path: Path) -> None:
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here in ANYTHING:
        return
    names = imported(path)
    assert not any(name.split(".")[0] in {"hydra", "omegaconf", "wandb"} for name in names)
    ours = {room(name) for name in names if name.split(".")[0] in ("idn", "teachers")}
    allowed = GROUND if here in GROUND else GROUND | {here} | MAY_IMPORT[here]
    assert ours - {""} <= allowed  # `import idn`, for its version


def test_only_a_student_knows_its_own_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("idn/students/*/__init__.py")}
    assert "mobilefaceswap" in packages
    for path in modules():
        others = {f"idn.students.{name}" for name in packages if ROOT / "idn/students" / name not in path.parents}
        here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if here != "cli":  # `idn import` knows the published one
            assert not [name for name in imported(path) if ".".join(name.split(".")[:3]) in others], path


def test_every_room_is_named_and_no_two_import_each_other() -> None:
    rooms = {path.parent.name for path in ROOT.glob("idn/*/__init__.py")} - ANYTHING - GROUND
    assert rooms | {"teachers"} == MAY_IMPORT.keys()
    order: list[str] = []
    while ready := [name for name, below in MAY_IMPORT.items() if name not in order and below <= set(order)]:
        order += ready
    assert set(order) == MAY_IMPORT.keys()
