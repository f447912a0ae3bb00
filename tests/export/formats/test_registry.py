"""The formats that programs name are those that users choose."""

import importlib.util

import pytest
from omegaconf import OmegaConf

from idn.cli import conf_dir
from idn.errors import UserError
from idn.export.formats.registry import FORMATS, format_named


def test_configs_and_table_name_the_same_classes() -> None:
    configs = {path.stem: path for path in (conf_dir() / "format").glob("*.yaml")}
    assert {name: OmegaConf.load(path)._target_ for name, path in configs.items()} == {
        name: f"idn.export.formats.{place}" for name, place in FORMATS.items()
    }
    assert all(path.read_text().startswith(f"# @package format.{name}\n") for name, path in configs.items())


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_bears_its_name_and_has_no_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "coreml":  # asks its package for systems
        monkeypatch.setattr(importlib.util, "find_spec", lambda module: object())
    else:
        pytest.importorskip("coremltools")
    form = format_named(name)
    assert form.name == name and form == format_named(name)
    with pytest.raises(AttributeError):
        form.name = "another"
    assert {form.computed_in("swap", precision) for precision in form.precisions} <= set(form.precisions)


def test_weights_alone_are_called_so() -> None:
    pytest.importorskip("coremltools")
    assert format_named("coreml").computed_in("swap", "int8") == "fp16"
    assert format_named("safetensors").computed_in("swap", "bf16") == "fp32"
    assert format_named("pt2").computed_in("swap", "bf16") == "bf16"


def test_another_name_is_refused() -> None:
    with pytest.raises(UserError, match="format=tensorrt is unknown: choose of safetensors, onnx"):
        format_named("tensorrt")
