"""Every file of the package of formats is a format with a config of its name."""

import importlib.util
from collections.abc import Callable
from importlib import import_module

import pytest
from omegaconf import OmegaConf

from idn.cli import conf_dir
from idn.errors import OptionError
from idn.export.formats import FORMATS, format_kind, format_named
from tests.raising import raises


def test_every_format_can_be_chosen() -> None:
    configs = {path.stem: path for path in (conf_dir() / "format").glob("*.yaml")}
    assert sorted(configs) == FORMATS
    for name, path in configs.items():
        module, kind = OmegaConf.load(path)._target_.rsplit(".", 1)
        assert module == f"idn.export.formats.{name}" and getattr(import_module(module), kind).name == name
        assert path.read_text().startswith(f"# @package format.{name}\n")


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
    assert {form.computed_in(True, precision) for precision in form.precisions} <= set(form.precisions)


def test_weights_alone_are_called_so() -> None:
    pytest.importorskip("coremltools")
    assert format_named("coreml").computed_in(True, "int8") == "fp16"
    assert format_named("safetensors").computed_in(True, "bf16") == "fp32"
    assert format_named("pt2").computed_in(True, "bf16") == "bf16"


def test_what_opens_as_a_program_is_known_without_its_packages() -> None:
    """Pickles and shared libraries run their code; the graphs of the others are read by their runtimes."""
    assert [name for name in FORMATS if format_kind(name).runs_code] == ["aotinductor", "pt2"]


@pytest.mark.parametrize("look_up", [format_named, format_kind])
def test_another_name_is_refused(look_up: Callable[[str], object]) -> None:
    with raises(OptionError, "aotinductor", "safetensors", argument="format", value="tensorrt"):
        look_up("tensorrt")
