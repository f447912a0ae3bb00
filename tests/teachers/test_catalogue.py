"""The table of `idn teachers` against the configs that it speaks of."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from idn.cli.config_tree import conf_dir
from teachers.catalogue import COSTS, declared

NAMES = sorted(path.stem for path in (conf_dir() / "teacher").glob("*.yaml"))


@pytest.fixture
def configs():
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return {name: OmegaConf.to_container(compose(overrides=[f"+teacher={name}"]).teacher) for name in NAMES}


def test_costs_are_those_of_configs():
    assert set(COSTS) < set(NAMES)


def test_every_config_says_whose_it_is_before_any_file_is_read(configs):
    rows = {name: declared(options) for name, options in configs.items()}
    assert sorted(rows) == NAMES
    assert all(row.licence for row in rows.values())
    assert rows["blend"] == (None, "Apache-2.0 (no weights)", True)
    assert rows["simswap_512"] == (512, "CC-BY-NC-4.0", False)
    assert rows["simswap_512_deep"] == (512, "unknown (community)", None)
    assert rows["onnx_simswap_unofficial_512"].size == 512 and not rows["onnx_simswap_unofficial_512"].commercial
    assert {name for name, row in rows.items() if row.licence == "as you declare"} == {"onnx", "torch_program"}
    for name in ("trained_here", "ensemble", "cached"):
        assert rows[name].size is None and rows[name].commercial is None
    for name in set(NAMES) - {"onnx", "torch_program", "trained_here", "ensemble", "cached"}:
        alone = name in ("blend", "procedural", "target_itself", "truth")
        assert (rows[name].size is None) == alone, name


def test_somebody_elses_class_says_nothing():
    assert declared({"_target_": "somebody.own.Swapper"}).licence == "not stated"
