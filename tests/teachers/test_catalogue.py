"""The table of `idn teachers` against the configs and the records that it speaks of."""

import importlib

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from idn.cli import conf_dir
from teachers.catalogue import CATALOGUE
from teachers.published.simswap import ARCHITECTURES

NAMES = sorted(path.stem for path in (conf_dir() / "teacher").glob("*.yaml"))
ELSEWHERE = {"torch_program", "onnx", "trained_here", "ensemble", "cached"}
"""Those whose record is the user's, a file's, or that of other teachers."""


def declared(cfg: DictConfig) -> tuple[int | None, str, bool | None]:
    """Size, licence and whether it allows commercial use, as the teacher itself would say."""
    if "record" in cfg:
        return cfg.record.target.size, cfg.record.licence, cfg.record.commercial
    if "architecture" in cfg:
        found = ARCHITECTURES[cfg.architecture]
        return cfg.size, found.licence, found.commercial
    record = importlib.import_module(cfg._target_.rsplit(".", 1)[0]).RECORD
    return record.target.size, record.licence, record.commercial


def test_every_config_has_a_row_and_every_row_a_config():
    assert sorted(CATALOGUE) == NAMES


@pytest.mark.parametrize("name", sorted(set(NAMES) - ELSEWHERE))
def test_a_row_says_what_config_or_adapter_declares(name):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"teacher={name}"]).teacher
    entry = CATALOGUE[name]
    assert (entry.size, entry.licence, entry.commercial) == declared(cfg)
