"""Flags with dashes: which of them exclude each other."""

import pytest

from idn.cli.options.flags import separated
from idn.errors import UserError


@pytest.mark.parametrize("flags", [["-m", "--cfg", "job"], ["--info", "defaults", "-c=job"], ["--run", "--multirun"]])
def test_flags_that_exclude_each_other_are_one_sentence(flags):
    with pytest.raises(UserError, match="exclude each other: leave one of them out"):
        separated([*flags, "optim.lr=1"])


def test_help_and_a_resolved_config_go_with_others():
    assert separated(["-m", "--help", "--cfg", "job"]) == (["-m", "--help", "--cfg", "job"], [])
    assert separated(["--cfg", "job", "--resolve"]) == (["--cfg", "job", "--resolve"], [])
