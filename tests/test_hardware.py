"""The option `device`."""

import pytest
import torch

from idn.errors import OptionError
from idn.hardware import choose_device
from tests.raising import raises


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta", "", 99])
def test_what_is_not_there_is_refused(name: str) -> None:
    with raises(OptionError, argument="device", value=name):
        choose_device(name)
