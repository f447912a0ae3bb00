"""Options that do not make a config, and what they could have been."""

import re

import pytest

from idn.cli.options.near_misses import check
from idn.cli.options.overrides import combinations, overrides
from idn.errors import UserError


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("student=null", "there is no student=null: choose of "),
        ("schedule=3", "there is no schedule=3: choose of cosine"),
        ("data/regions=null", "there is no data/regions=null: choose of landmarks, parsing"),
        ("optim=true", "there is no optim=true: choose of adam, adamw, sgd"),
        ("recipe=null", "there is no option recipe: "),
    ],
)
def test_a_group_that_was_given_no_name_says_which_there_are(option, said):
    with pytest.raises(UserError, match=re.escape(said)):
        check("train", overrides([option], several=False))


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("train", "experiment=null"),
        ("train", "discriminator=null"),
        ("train", "recogniser=null"),
        ("train-teacher", "recipe=null"),
    ],
)
def test_a_group_of_which_nothing_is_needed_can_be_null(verb, option):
    check(verb, overrides([option], several=False))


def test_a_sweeper_that_is_not_installed_is_one_sentence():
    for run in combinations("train", options := ["hydra/sweeper=nowhere", "optim.lr=interval(0.0001,0.01)"]):
        with pytest.raises(UserError, match="there is no hydra/sweeper=nowhere: choose of basic"):
            check("train", run)
    assert len(combinations("train", options)) == 2
