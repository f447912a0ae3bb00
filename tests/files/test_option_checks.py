"""Numbers that users gave."""

import pytest

from idn.errors import UserError
from idn.files.option_checks import require_callable, require_int, require_number


@pytest.mark.parametrize("value", [1, 2, 10**400])
def test_whole_numbers_pass(value: int) -> None:
    require_int("data.batch", value, 1)
    require_int("data.batch", -value)


@pytest.mark.parametrize(
    ("value", "given"), [(0, "0"), (1.0, "1.0"), (None, "null"), (True, "True"), ("2", "2"), ([2], r"\[2\]")]
)
def test_what_is_no_whole_number_is_named_with_its_option(value: object, given: str) -> None:
    with pytest.raises(UserError, match=rf"^data\.batch={given} must be a whole number, at least 1$"):
        require_int("data.batch", value, 1)


@pytest.mark.parametrize("value", [0, 1, 0.25, 1.0])
def test_numbers_pass_up_to_their_ends(value: float) -> None:
    require_number("data.holdout", value, 0, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), None, True, "0.5", [0.5]])
def test_what_is_no_number_in_the_range_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"^data\.holdout=.* must be a number from 0 to 1$"):
        require_number("data.holdout", value, 0, 1)
    if value != -0.1 and value != 1.1:
        with pytest.raises(UserError, match=r"must be a number$"):
            require_number("data.holdout", value)


@pytest.mark.parametrize("value", [0, "word", False])
def test_a_part_is_an_object_or_nothing(value: object) -> None:
    require_callable("data.augment", None)
    require_callable("data.augment", len)
    with pytest.raises(UserError, match=rf"^data\.augment={value} must be null, or left as it is"):
        require_callable("data.augment", value)
