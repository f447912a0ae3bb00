"""Names: nothing that a user types differs from another by one letter, and old or mistyped words get a near miss."""

from itertools import combinations

import pytest

from idn.cli import VERBS
from idn.cli.options.composition import composed
from idn.cli.options.near_misses import check
from idn.cli.options.types import leaves
from idn.errors import UserError


def one_letter_apart(a: str, b: str) -> bool:
    """Whether one letter more, less or other makes one word of the other."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    at = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest = {(0, a[at + 1 :], b[at + 1 :]), (1, a[at + 1 :], b[at:]), (-1, a[at:], b[at + 1 :])}
    return any(x == y for _, x, y in rest)


def pairs(words: set[str]) -> list[tuple[str, str]]:
    return [pair for pair in combinations(sorted(words), 2) if one_letter_apart(*pair)]


def test_what_is_one_letter_apart() -> None:
    assert one_letter_apart("teacher", "teachers") and one_letter_apart("form", "from") is False
    assert one_letter_apart("cat", "car") and one_letter_apart("cat", "at") and not one_letter_apart("cat", "dog")


def test_no_two_verbs_differ_by_one_letter() -> None:
    assert pairs({*VERBS}) == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_no_two_options_of_a_verb_differ_by_one_letter(verb: str) -> None:
    config, settings = composed(verb)
    names = {name for name, _ in leaves(config) if not name.rpartition(".")[2].startswith("_")}
    groups = {name for name in settings.runtime.choices if not name.startswith("hydra")}
    assert pairs(names | groups | {*config}) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["teacher"], "there is no verb 'teacher': did you mean teachers?"),
        (["quality"], "there is no verb 'quality': choose one of train, align"),
        (["identity"], "there is no verb 'identity': choose one of train, align"),
        (
            ["train", "identity=mobilefacenet"],
            "identity: did you mean recogniser=mobilefacenet or encoder=mobilefacenet?",
        ),
        (["train", "identity.weights=x"], "there is no option identity.weights: "),
        (["train", "distill.ema_decay=0.9"], "did you mean distillation.ema_decay?"),
        (
            ["train-teacher", "swapper=ghost_small"],
            "there is no option swapper: did you mean teacher_network=ghost_small?",
        ),
        (["train", "optimizer=sgd"], "there is no option optimizer: did you mean optim=sgd?"),
        (["train", "students=mobilefaceswap"], "did you mean student=mobilefaceswap?"),
        (["export", "student=FILE"], "there is no option student: see idn export --help"),
        (["export", "identity=x.jpg"], "there is no option identity: "),
        (["align", "frame=ffhq"], "there is no option frame: "),
    ],
    ids=" ".join,
)
def test_old_words_get_the_ordinary_answer(words: list[str], said: str, idn_cli) -> None:
    status, _, err = idn_cli(*words)
    assert status == 2 and said in err and err.count("\n") == 1


def test_a_plugin_that_is_missing_is_named_as_it_is_installed() -> None:
    for option, package in (
        ("hydra/sweeper=nevergrad", "hydra-nevergrad-sweeper"),
        ("hydra/launcher=rq", "hydra-rq-launcher"),
    ):
        with pytest.raises(UserError, match=f"^{option} is a plugin of Hydra's: install {package}$"):
            check("train", [option])
    with pytest.raises(UserError, match="there is no hydra/sweeper=optunaa: did you mean optuna"):
        check("train", ["hydra/sweeper=optunaa"])


def test_a_name_that_is_nearly_right_is_proposed() -> None:
    with pytest.raises(UserError, match=r"did you mean encoder\.weights\?"):
        check("train", ["encodr.weights=x"])
