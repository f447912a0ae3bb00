"""Flags with dashes: which of them exclude each other."""

import pytest

from idn.cli.options.flags import separated
from idn.errors import UserError
from tests.raising import raises


@pytest.mark.parametrize(
    ("flags", "purposes"),
    [
        (["-m", "--cfg", "job"], ["-m", "--cfg"]),
        (["--info", "defaults", "-c=job"], ["--info", "-c"]),
        (["--run", "--multirun"], ["--run", "--multirun"]),
    ],
)
def test_flags_that_exclude_each_other_are_one_sentence(flags, purposes):
    with raises(UserError, *purposes):
        separated([*flags, "optim.lr=1"])


def test_help_and_a_resolved_config_go_with_others():
    assert separated(["-m", "--help", "--cfg", "job"]) == (["-m", "--help", "--cfg", "job"], [])
    assert separated(["--cfg", "job", "--resolve"]) == (["--cfg", "job", "--resolve"], [])
