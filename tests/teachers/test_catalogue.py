"""The table of `idn teachers` against the configs and the records that it speaks of."""

import importlib

import pytest
from hydra import compose, initialize_config_dir

from idn.cli import conf_dir
from teachers.catalogue import CATALOGUE

NAMES = sorted(path.stem for path in (conf_dir() / "teacher").glob("*.yaml"))
DECLARED_BY_THE_USER = {"module", "onnx"}


def test_every_config_has_a_row_and_every_row_a_config():
    assert sorted(CATALOGUE) == NAMES


@pytest.mark.parametrize("name", sorted(set(NAMES) - DECLARED_BY_THE_USER))
def test_a_row_says_what_config_or_adapter_declares(name):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"teacher={name}"]).teacher
    entry = CATALOGUE[name]
    if "record" in cfg:
        declared = (cfg.record.target.size, cfg.record.licence, cfg.record.commercial)
        assert (entry.size, entry.licence, entry.commercial) == declared
        return
    record = getattr(importlib.import_module(cfg._target_.rsplit(".", 1)[0]), "RECORD", None)
    if record is not None:
        assert (entry.size, entry.commercial) == (record.target.size, record.commercial)
    if "size" in cfg:
        assert entry.size == cfg.size
