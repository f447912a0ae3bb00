"""Groups that are null, gone, or one value: every verb says which of them it needs, by the name that is typed."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from omegaconf import DictConfig

from idn.cli.instantiate import register_resolvers
from idn.cli.options.composition import chosen_groups, composed
from idn.cli.options.groups import check_groups
from idn.cli.options.near_misses import check
from idn.cli.options.overrides import overrides, parsed
from idn.cli.verbs.table import VERBS
from idn.errors import UserError

DISPENSABLE = {
    "callbacks",
    "logger",
    "recogniser",
    "landmarks",
    "lpips",
    "inception",
    "student.rates",
    "teacher_network.rates",
    "loss.fading",
}
MEMBERS = ("callbacks.", "logger.", "edits.", "networks.")


def groups_of(config: DictConfig, before: str = "") -> Iterator[str]:
    """The names of all groups, the outer before the inner."""
    for key in map(str, config):
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield f"{before}{key}"
            yield from groups_of(node, f"{before}{key}.")


def dispensable(name: str) -> bool:
    return name in DISPENSABLE or (name.startswith(MEMBERS) and name.count(".") == 1)


@pytest.mark.parametrize("verb", VERBS)
def test_every_group_is_needed_or_may_be_null(verb: str) -> None:
    register_resolvers()
    config, settings = composed(verb)
    files = chosen_groups(verb, settings)
    ways = [parsed(word) for word in ("x=null", "x=0", "x=[1,x]", "~x")]
    for name, way in product(groups_of(config), ways):
        word = way.input_line.replace("x", name, 1)
        refused = name not in files if not word.startswith("~") else not dispensable(name)
        refused = refused and not (word.endswith("null") and dispensable(name))
        said = ""
        try:
            check_groups(verb, [replace(way, key_or_group=name)], config, config, files)
        except UserError as error:
            said = str(error)
        assert said.startswith(f"{word} " if refused else "") and bool(said) == refused, (word, said)


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("swap", "detector=null", "detector=null leaves idn swap without what it needs"),
        (
            "swap",
            "data=procedural",
            "data=procedural stands for several options: give those, as in data.template=VALUE",
        ),
        ("export", "format=[onnx,x]", "there is no format=x: choose of aotinductor"),
        ("train", "logger=0", "there is no logger=0: choose of csv"),
        ("train-teacher", "discriminator=null", "~discriminator leaves idn train-teacher without what it needs"),
    ],
)
def test_what_is_typed_is_refused_in_one_sentence(verb: str, word: str, said: str) -> None:
    register_resolvers()
    with pytest.raises(UserError) as refusal:
        check(verb, overrides([word], several=False))
    assert str(refusal.value).startswith(said)
