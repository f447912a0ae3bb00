"""The argument that a constructor refuses comes out as the option that gave it."""

from functools import partial

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from idn.cli import launch
from idn.cli.instantiate import build
from idn.cli.options.errors import located, unwrapped
from idn.errors import DamagedFile, OptionError, UserError
from tests.raising import raises


class Thing:
    """Refuses a negative size when it is made, and any size of 7 when it is used."""

    def __init__(self, size: int, inner: object = None, parts: dict[str, int] | None = None) -> None:
        if size < 0:
            raise OptionError("size", size, "must be at least 0")
        for name, value in (parts or {}).items():
            if value < 0:
                raise OptionError(f"parts.{name}", value, "must be at least 0")
        self.size, self.inner = size, inner

    def use(self) -> None:
        if self.size == 7:
            raise OptionError("size", self.size, "does not go with these pictures", owner=self)


def make_thing(size: int) -> Thing:
    return Thing(size)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idn.errors.Thing", Thing, raising=False)
    monkeypatch.setattr("idn.errors.make_thing", make_thing, raising=False)


def node(**arguments: object) -> dict[str, object]:
    return {"_target_": "idn.errors.Thing", **arguments}


def refusal(config: DictConfig, name: str) -> OptionError:
    with pytest.raises(OptionError) as error:
        build(config[name])
    return error.value


def test_a_constructor_at_the_top() -> None:
    error = refusal(OmegaConf.create({"student": node(size=-1)}), "student")
    assert (error.argument, error.value) == ("student.size", -1)
    assert str(error) == "student.size=-1 must be at least 0"


def test_a_constructor_inside_another() -> None:
    config = OmegaConf.create({"data": node(size=1, inner=node(size=-1))})
    assert refusal(config, "data").argument == "data.inner.size"


def test_one_part_of_an_argument() -> None:
    config = OmegaConf.create({"data": node(size=1, parts={"left": -2})})
    assert refusal(config, "data").argument == "data.parts.left"


def test_an_argument_that_takes_over_another_option_is_called_as_that_option() -> None:
    config = OmegaConf.create({"size": -1, "data": node(size="${size}"), "scorer": node(size="${data.size}")})
    assert refusal(config, "data").argument == refusal(config, "scorer").argument == "size"


def test_a_partial_that_is_called_later() -> None:
    config = OmegaConf.create({"student": node(_partial_=True)})
    later = build(config.student)
    assert isinstance(later, partial) and later(size=3).size == 3
    with raises(OptionError, argument="student.size"):
        later(size=-3)


def test_a_partial_inside_another_that_is_called_later() -> None:
    config = OmegaConf.create({"align": node(size=1, inner=node(size=-5, _partial_=True))})
    with pytest.raises(OptionError) as error:
        build(config.align).inner()
    assert located(error.value, config).argument == "align.inner.size"


def test_an_owner_that_refuses_long_after_it_was_made() -> None:
    config = OmegaConf.create({"size": 7, "data": node(size=1), "teacher": {"members": {"a": node(size=7)}}})
    with pytest.raises(OptionError) as error:
        build(config.teacher.members.a).use()
    config.pop("size")
    assert located(error.value, config).argument == "teacher.members.a.size"


def test_an_owner_that_a_function_made() -> None:
    config = OmegaConf.create({"data": {"_target_": "idn.errors.make_thing", "size": 7}})
    with pytest.raises(OptionError) as error:
        build(config.data).use()
    assert located(error.value, config).argument == "data.size"


def test_what_is_an_option_already_or_cannot_be_found_stays() -> None:
    config = OmegaConf.create({"out": 3, "a": node(size=2), "b": node(size=2)})
    for name, value in (("out", 3), ("size", 2), ("nothing", 1)):
        assert located(OptionError(name, value, "is wrong"), config).argument == name
    other = ValueError("no")
    assert located(other, config) is other


class Refusing(torch.utils.data.Dataset):
    """Pairs that cannot be read with these options."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OptionError("size", -1, "does not go with these pictures"), "data.size=-1 does not go with these pictures"),
        (UserError("x.jpg is no picture: remove it"), "x.jpg is no picture: remove it"),
        (DamagedFile("x.jpg", "is no picture: remove it"), "x.jpg is no picture: remove it"),
    ],
)
def test_loader_processes_say_the_same(error: Exception, said: str) -> None:
    config = OmegaConf.create({"data": node(size=-1)})
    with pytest.raises((RuntimeError, UserError)) as wrapped:
        next(iter(torch.utils.data.DataLoader(Refusing(error), num_workers=1)))
    assert launch.explain(located(unwrapped(wrapped.value), config)) == said


def test_an_optimizer_names_its_place() -> None:
    config = OmegaConf.create({"optim": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": -1.0}})
    with raises(UserError, "optim", "-1.0"):
        build(config.optim)


def test_an_argument_that_has_an_owner_is_not_the_option_of_its_name() -> None:
    config = OmegaConf.create({"size": 3, "thing": node(size=7)})
    with pytest.raises(OptionError) as refused:
        build(config.thing).use()
    assert located(refused.value, config).argument == "thing.size"
    assert located(OptionError("size", 3, "is too small"), config).argument == "size"
