"""What `idn VERB --help` shows."""

import textwrap
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from idn import cli
from idn.cli.help import help_text
from idn.cli.options.config_comments import remarks, title, usage_of
from idn.errors import UserError
from tests.raising import raises


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def _blocks(verb: str) -> list[str]:
    """Lines below the part that is written by hand."""
    return help_text(verb, []).partition("\nconfig (change any value as key=value):\n")[2].splitlines()


def test_an_option_stands_beside_its_value_and_its_comment(wide) -> None:
    lines = help_text("train", []).splitlines()
    assert "  data.size=96                      pixels, divisible by 32" in lines
    assert "  data.seed=0                       as seed" in lines
    assert any(line.startswith("data=procedural  ") and "Faces drawn on the fly" in line for line in lines)
    assert "  or faces, fstriplets, shards" in lines
    assert not any("_target_" in line or "_partial_" in line or "${" in line for line in lines)


def test_the_options_of_the_choices_that_are_typed_are_shown(wide) -> None:
    text = help_text("train", ["data=faces", "trainer.max_steps=7"])
    assert "data.root=???                     the folder: flat, or one folder per identity" in text
    assert "trainer.max_steps=7 " in text and "schedule.total_steps=7 " in text
    assert "data.stored_template" not in help_text("train", [])


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_only_the_groups_of_the_verb_are_listed(verb: str, wide) -> None:
    heads = {line.split("=")[0] for line in _blocks(verb) if "=" in line and line[0] != " "}
    entries = OmegaConf.load(cli.conf_dir() / f"{verb}.yaml").defaults
    groups = {key.partition("@")[2] or key for entry in entries if OmegaConf.is_dict(entry) for key in entry}
    assert heads == {"format" if group == "format" else group for group in groups}


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_lines_fit_the_terminal(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ours = _blocks(verb)
    assert len(ours) > 2 and max(map(len, ours)) <= 80


def test_options_have_the_names_that_users_type(wide) -> None:
    text = help_text("export", ["format=[onnx,pt2]"])
    assert "  weights=???                       of the student: student.safetensors of" in text
    assert "encoder=procedural" in text and "encoder.weights=null" in text
    assert "format=[onnx,pt2]" in text and "format.pt2.dynamic_size=false" in text


def test_experiments_are_those_of_the_verb(wide) -> None:
    ours = "idn_both, idn_triplets, mobilefsgan, mobilefsgan_kd, mobilefsgan_small, photos, photos_rehearsal"
    assert f"experiment=null\n  or {ours}, procedural_full" in help_text("train", [])
    assert "or paper_faceshifter, paper_simswap, pipeline_small" in help_text("pipeline", [])


def test_comments_are_read_behind_and_above_an_option() -> None:
    text = textwrap.dedent("""\
        # The title.
        first: 1
        quoted: "a # b"   # real
        part:   # of two
          inner: [1,
            2]
          # Above.
          last: x
        bare: y
        """)
    assert remarks(text) == {"quoted": "real", "part": "of two", "part.last": "Above."}


@pytest.mark.parametrize(
    "path", sorted(cli.conf_dir().glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_choice_says_what_it_is(path: Path) -> None:
    assert title(path.read_text())


@pytest.mark.parametrize("words", [["train", "-h"], ["help", "train"], ["train", "seed=1", "--help"]])
def test_help_can_be_asked_for_in_several_ways(words: list[str], idn_cli) -> None:
    status, out, _ = idn_cli(*words)
    assert status == 0 and out.startswith("idn train: ") and "trainer.max_steps=1000 " in out


def test_a_wrong_option_beside_help_gets_the_usual_sentence(idn_cli) -> None:
    with raises(UserError, "trainer.max_steps"):
        help_text("train", ["trainer.max_step=1"])
    status, out, err = idn_cli("train", "--help", "data=fases")
    assert status == 2 and not out and "did you mean faces?" in err
    status, _, err = idn_cli("help", "trian")
    assert status == 2 and "did you mean train?" in err


def test_a_sweep_shows_its_first_run(idn_cli) -> None:
    status, out, _ = idn_cli("train", "-m", "data=faces,procedural", "--help")
    assert status == 0 and "data.root=???" in out


def test_the_usage_of_a_verb_is_one_line() -> None:
    assert usage_of("train") == "idn train [option=value ...]"
    assert usage_of("import") == "idn import in=FILE out=FILE.safetensors"
