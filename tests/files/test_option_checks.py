"""Checks of argument values."""

import pytest

from idn.errors import OptionError
from idn.files.option_checks import require_callable, require_int, require_number, require_one_of
from tests.raising import raises


@pytest.mark.parametrize("value", [1, 2, 2**31 - 1])
def test_whole_numbers_pass(value: int) -> None:
    require_int("batch", value, 1)
    require_int("batch", -value)


@pytest.mark.parametrize("value", [0, 1.0, None, True, "2", [2]])
def test_what_is_no_whole_number_is_named_with_its_argument(value: object) -> None:
    with pytest.raises(OptionError) as error:
        require_int("batch", value, 1)
    assert (error.value.argument, error.value.value) == ("batch", value)
    assert error.value.wanted == "must be a whole number, at least 1"


@pytest.mark.parametrize("value", [2**31, 10**400])
def test_a_number_that_no_library_counts_to_is_refused_where_no_other_end_is_known(value: int) -> None:
    for given in (value, -value):
        with raises(OptionError, argument="batch"):
            require_int("batch", given)
    require_int("seed", value, 0, value)


@pytest.mark.parametrize("value", [0, 1, 0.25, 1.0])
def test_numbers_pass_up_to_their_ends(value: float) -> None:
    require_number("holdout", value, 0, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), None, True, "0.5", [0.5]])
def test_what_is_no_number_in_the_range_is_refused(value: object) -> None:
    with pytest.raises(OptionError) as error:
        require_number("holdout", value, 0, 1)
    assert (error.value.argument, error.value.wanted) == ("holdout", "must be a number from 0 to 1")
    if value != -0.1 and value != 1.1:
        with pytest.raises(OptionError) as error:
            require_number("holdout", value)
        assert error.value.wanted == "must be a number"


@pytest.mark.parametrize("value", [0, "word", False])
def test_a_part_is_an_object_or_nothing(value: object) -> None:
    require_callable("augment", None)
    require_callable("augment", len)
    with raises(OptionError, argument="augment", value=value):
        require_callable("augment", value)


@pytest.mark.parametrize("value", ["gif", None, 3, ["png"]])
def test_a_word_that_is_none_of_the_known_ones_is_refused_with_the_list(value: object) -> None:
    require_one_of("kind", "png", {"png", "jpg"})
    with pytest.raises(OptionError) as error:
        require_one_of("kind", value, ("png", "jpg"))
    assert (error.value.argument, error.value.wanted) == ("kind", "is unknown: choose one of jpg, png")
