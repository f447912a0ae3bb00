"""Methods: students in other framings, results with gaps, exported files, pixels that are no numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idn.encoders.description import describe_encoder
from idn.errors import UserError
from idn.evaluation.methods.exported import exported_methods
from idn.evaluation.methods.method import Method, check_names, judged
from idn.evaluation.methods.results import NO_RESULT, ResultsMethod
from idn.evaluation.methods.student import StudentMethod, put_back
from idn.evaluation.methods.teacher import TeacherMethod
from idn.evaluation.pairs.pair_set import PairName, Pairs
from idn.files.photos import write_photo
from idn.geometry.warping import realign
from idn.images import to_uint8
from idn.students.mobilefaceswap.student import Student
from idn.students.student_file import save_student
from idn.types import EncoderDescription, IdentityFeatures, SwapBatch
from teachers.cached import CachedTeacher
from teachers.without_weights.target_itself import TargetItselfTeacher
from tests.conftest import TinyEncoder

NAMES = [PairName("a", "b", "a", "b"), PairName("b", "c", "b", "c"), PairName("c", "a", "c", "a")]


def pairs(size: int = 32) -> Pairs:
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 6, 6, generator=draw)
    source, target = torch.nn.functional.interpolate(coarse, size, mode="bilinear").split(3)
    return Pairs(NAMES, SwapBatch(source, target, torch.ones(3, 1, size, size), torch.zeros(3, dtype=torch.bool)))


def nobody() -> IdentityFeatures:
    return IdentityFeatures(torch.zeros(3, 8), torch.zeros(3, 16, 7, 7))


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    student = Student(describe_encoder(TinyEncoder()), width=0.25)
    save_student(student, tmp_path / "student.safetensors", {"template": "ffhq", "size": "32"})
    return tmp_path / "student.safetensors"


def test_a_student_is_shown_the_framing_of_its_training(student_file: Path) -> None:
    torch.manual_seed(0)
    encoder, shown = TinyEncoder(), pairs(64)
    method = StudentMethod("s", student_file, encoder, "arcface_112_v2", 64, torch.device("cpu"))
    seen = []
    method.student.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    swaps = method.swap(shown, encoder(shown.batch.source))
    assert swaps.image.shape == (3, 3, 64, 64) and swaps.problems == [None] * 3
    assert torch.equal(seen[0], realign(shown.batch.target, "arcface_112_v2", "ffhq", 32))


@pytest.mark.parametrize("frame", ["ffhq", "arcface_112_v1"])
def test_what_was_cut_out_comes_back_to_its_place(frame: str) -> None:
    target = pairs(96).batch.target
    back = put_back(realign(target, "ffhq", frame, 128), target, frame, "ffhq")
    assert (back - target).abs().mean() < 0.01


def test_a_student_of_another_encoder_is_refused(student_file: Path) -> None:
    torch.manual_seed(1)
    with pytest.raises(UserError, match="other weights of tiny"):
        StudentMethod("s", student_file, TinyEncoder(), "ffhq", 32, torch.device("cpu"))


def test_pixels_that_are_no_numbers_are_a_problem_of_their_pair_alone() -> None:
    shown = pairs()
    image = shown.batch.target.clone()
    image[1, 0, 3, 3] = float("nan")
    image[2, 0, 3, 3] = float("inf")
    swaps = judged(image, shown)
    assert swaps.problems[0] is None and None not in swaps.problems[1:]
    assert swaps.image.isfinite().all() and torch.equal(swaps.image[0], shown.batch.target[0])


def test_infinite_pixels_survive_a_paste_as_a_problem() -> None:
    shown = pairs()
    image = torch.full((3, 3, 32, 32), 0.5)
    image[1, :, 10:20, 10:20] = float("inf")
    problems = judged(put_back(image, shown.batch.target, "ffhq", "arcface_112_v2"), shown).problems
    assert [problem is None for problem in problems] == [True, False, True]


def test_results_are_read_by_their_names_and_gaps_are_told(tmp_path: Path) -> None:
    shown = pairs()
    pixels = to_uint8(shown.batch.source)
    write_photo(tmp_path / "a_b.png", pixels[0], 90)
    write_photo(tmp_path / "b_c.png", pixels[1][:, :16], 90)
    write_photo(tmp_path / "other.png", pixels[1], 90)
    method = ResultsMethod("r", tmp_path, NAMES, 32)
    swaps = method.swap(shown, nobody())
    assert swaps.problems == [None, "a result that is not square", NO_RESULT]
    assert [method.facts[key] for key in ("missing", "extra", "resized")] == [1, 1, 0]
    assert (swaps.image[0] - shown.batch.source[0]).abs().max() < 1 / 254


def test_results_of_another_size_are_counted_and_resized(tmp_path: Path) -> None:
    write_photo(tmp_path / "a_b.png", torch.full((3, 50, 50), 51, dtype=torch.uint8), 90)
    method = ResultsMethod("r", tmp_path, NAMES, 32)
    swaps = method.swap(pairs(), nobody())
    assert swaps.image.shape == (3, 3, 32, 32) and float(swaps.image[0].mean()) == pytest.approx(0.2)
    assert method.facts["resized"] == 1


def test_results_that_cannot_be_read_are_a_problem_of_their_pairs(tmp_path: Path) -> None:
    write_photo(tmp_path / "a_b.png", torch.zeros(3, 32, 32, dtype=torch.uint8), 90)
    whole = (tmp_path / "a_b.png").read_bytes()
    (tmp_path / "b_c.png").write_bytes(whole[: len(whole) // 2])
    holes = np.full((32, 32), np.nan, np.float32)
    Image.fromarray(holes).save(tmp_path / "c_a.tif")
    problems = ResultsMethod("r", tmp_path, NAMES, 32).swap(pairs(), nobody()).problems
    assert problems == [None, "a result that cannot be read", "a result that cannot be read"]


def test_two_pictures_of_one_pair_are_refused(tmp_path: Path) -> None:
    for name in ("a_b.png", "a_b.webp"):
        write_photo(tmp_path / name, torch.zeros(3, 32, 32, dtype=torch.uint8), 90)
    with pytest.raises(UserError, match=r"a_b\.png and a_b\.webp: keep one"):
        ResultsMethod("r", tmp_path, NAMES, 32)
    (tmp_path / "list.csv").write_text("target,source,file\na,b,a_b.png\na,b,a_b.png\na,b,a_b.webp\n")
    with pytest.raises(UserError, match="keep one"):
        ResultsMethod("r", tmp_path / "list.csv", NAMES, 32)


def test_other_pictures_are_another_method(tmp_path: Path) -> None:
    marks = set()
    for grey in (0, 1):
        write_photo(tmp_path / "a_b.png", torch.full((3, 32, 32), grey, dtype=torch.uint8), 90)
        marks.add(ResultsMethod("r", tmp_path, NAMES, 32).facts["sha256"])
    assert len(marks) == 2


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "as Excel writes it"])
def test_a_csv_lists_results_of_any_name(tmp_path: Path, mark: str) -> None:
    write_photo(tmp_path / "deep" / "1.png", torch.zeros(3, 32, 32, dtype=torch.uint8), 90)
    (tmp_path / "list.csv").write_text(f"{mark}target,source,file\nb,c,deep/1.png\na,b\nc,a,gone.png\n", "utf-8")
    method = ResultsMethod("r", tmp_path / "list.csv", NAMES, 32)
    assert method.swap(pairs(), nobody()).problems == [NO_RESULT, None, NO_RESULT]
    assert method.facts["missing"] == 2


@pytest.mark.parametrize("content", ["", "target,source\na,b\n", None])
def test_results_that_belong_to_no_pair_are_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError):
        ResultsMethod("r", path, NAMES, 32)
    with pytest.raises(UserError, match="no picture of any of the 3 pairs"):
        ResultsMethod("r", tmp_path, NAMES, 32)


def test_a_teacher_answers_and_one_that_knows_its_own_pairs_is_refused(make_cache, tmp_path: Path) -> None:
    shown, cpu = pairs(), torch.device("cpu")
    method = TeacherMethod("copy", TargetItselfTeacher(), TinyEncoder(), object(), cpu, {"a": 1})
    assert torch.equal(method.swap(shown, nobody()).image, shown.batch.target) and method.facts["options"] == {"a": 1}
    make_cache(tmp_path)
    with pytest.raises(UserError):
        TeacherMethod("cached", CachedTeacher(tmp_path), TinyEncoder(), object(), cpu, {})


def test_an_export_of_one_person_is_no_method(tmp_path: Path) -> None:
    card = {"product": "baked", "size": 32, "files": [], "networks": {}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="source=none"):
        exported_methods("e", tmp_path, "ffhq", run_programs=False)


class Named(Method):
    def swap(self, pairs, who):
        raise NotImplementedError


def test_methods_have_names_of_their_own() -> None:
    taught = EncoderDescription(1, 1)
    check_names([Named("a", {}, taught), Named("b", {})])
    for methods in ([], [Named("a", {}), Named("a", {})]):
        with pytest.raises(UserError):
            check_names(methods)
