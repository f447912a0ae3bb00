"""Pair sets: the same pairs every time, people apart, lists and video folders read, and what is left out counted."""

import json
import shutil
import zlib
from pathlib import Path

import pytest
import torch

from idn.data.procedural import FaceRenderer
from idn.errors import OptionError
from idn.evaluation.pairs.folder import folder_pairs, read_list
from idn.evaluation.pairs.pair_set import result_name
from idn.evaluation.pairs.procedural import ProceduralPairs
from idn.evaluation.pairs.videos import video_pairs
from idn.files.photos import write_photo
from tests.raising import raises


def crops(root: Path, *names: str) -> Path:
    """Pictures of noise, no two alike: a folder's pictures of equal content are used once."""
    draw = torch.Generator().manual_seed(zlib.crc32(f"{root.name}{names}".encode()))
    for name in names:
        write_photo(root / name, torch.randint(256, (3, 32, 32), generator=draw, dtype=torch.uint8), 90)
    return root


def folder(root: Path, **more):
    options = {"pairs": 100, "size": 32, "template": "ffhq", "seed": 0, "stored_template": "ffhq", "holdout": None}
    return folder_pairs(str(root), **options | more)


def test_a_drawn_pair_does_not_depend_on_where_a_chunk_begins() -> None:
    pairs = ProceduralPairs(FaceRenderer(), 20, 32, "ffhq", 0)
    whole, part = pairs.load(range(6, 11)), pairs.load(range(9, 10))
    assert torch.equal(whole.batch.truth[3], part.batch.truth[0]) and whole.names[3] == part.names[0]
    assert all(pair.source_person != pair.target_person for pair in pairs.names)
    assert len({pair.source for pair in pairs.names}) == 20


def test_each_photograph_is_a_target_once_and_never_with_its_own_person(tmp_path: Path) -> None:
    crops(tmp_path, *(f"{who}/{k}.png" for who in "abc" for k in range(3)))
    found = folder(tmp_path)
    assert sorted(pair.target for pair in found.names) == sorted(f"{who}/{k}" for who in "abc" for k in range(3))
    assert all(pair.source_person != pair.target_person for pair in found.names)
    assert found.names == folder(tmp_path).names != folder(tmp_path, seed=1).names
    batch = found.load(range(2, 5)).batch
    assert batch.target.shape == (3, 3, 32, 32) and batch.landmarks.isfinite().all()


def test_only_held_out_people_are_taken(tmp_path: Path) -> None:
    crops(tmp_path, *(f"{k:03d}.png" for k in range(40)))
    found = folder(tmp_path, holdout=0.3)
    held = {name.removesuffix(".png") for name in found.folder.held_out(0.3)}
    assert {pair.target for pair in found.names} | {pair.source for pair in found.names} <= held and len(found) > 4


def test_pairs_of_a_damaged_photograph_are_left_out_and_counted(tmp_path: Path) -> None:
    crops(tmp_path, *(f"{k}.png" for k in range(5)))
    whole = (tmp_path / "4.png").read_bytes()
    (tmp_path / "4.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="left out"):
        found = folder(tmp_path)
    assert 2 <= len(found) < 5 and found.left_out["pairs with a photograph that cannot be read"] == 5 - len(found)


def test_other_pixels_under_the_same_names_are_another_protocol(tmp_path: Path) -> None:
    one = folder(crops(tmp_path / "one", "a.png", "b.png", "c.png")).facts
    other = folder(crops(tmp_path / "other", "b.png", "a.png", "c.png")).facts
    assert one["pictures_sha256"] != other["pictures_sha256"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "source,target\nb,a\nc,b\n"),
        ("excel.csv", "\ufefftarget,source\na,b\nb,c\n"),
        ("list.txt", "a b\n\nb c\n"),
        ("list.lst", "a_b\nb_c\n"),
    ],
)
def test_a_list_names_target_and_source(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert read_list(tmp_path / name) == [("a", "b"), ("b", "c")]
    crops(tmp_path / "crops", "a.png", "b.png", "c.png")
    found = folder(tmp_path / "crops", pairs_file=tmp_path / name)
    assert [(pair.target, pair.source) for pair in found.names] == [("a", "b"), ("b", "c")]


def test_what_a_list_names_and_the_folder_lacks_is_counted(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a b\nb c\nc gone\n")
    found = folder(crops(tmp_path / "crops", "a.png", "b.png", "c.png"), pairs_file=tmp_path / "list.txt")
    assert len(found) == 2 and found.left_out == {"pairs of the list whose pictures are not in the folder": 1}


def test_a_list_of_pictures_that_are_not_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x y\nz w\n")
    with raises(OptionError, "2 pairs of the list whose pictures are not in the folder", argument="root"):
        folder(crops(tmp_path / "crops", "a.png", "b.png"), pairs_file=str(tmp_path / "list.txt"))


def test_one_person_makes_no_pair_and_equal_pictures_are_one(tmp_path: Path) -> None:
    root = crops(tmp_path, "a.png")
    shutil.copy(root / "a.png", root / "b.png")
    with raises(OptionError, "shows 1 person", "1 of the folder's pictures", argument="root"):
        folder(root)


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_people_to_hold_anybody_out_are_told_to_take_all(tmp_path: Path, count: int) -> None:
    root = crops(tmp_path, *(f"{k}.png" for k in range(count)))
    with raises(OptionError, "give null", argument="holdout", value=0.05):
        folder(root, holdout=0.05)
    assert len(folder(root)) == count


@pytest.mark.parametrize("text", ["one two three\n", "alone\n"])
def test_a_file_that_is_no_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(OptionError) as error:
        read_list(tmp_path / "list.txt")
    assert error.value.argument == "pairs_file"


def test_videos_are_paired_frame_by_frame_in_both_directions(tmp_path: Path) -> None:
    for video in ("071", "054"):
        crops(tmp_path / "c23" / video, *(f"{k:04d}.png" for k in range(20)))
    crops(tmp_path / "c23" / "099", "0000.png")
    (tmp_path / "test.json").write_text(json.dumps([["071", "054"], ["071", "099"], ["071", "gone"]]))
    found = videos(tmp_path / "c23", frames=5, pairs_file=str(tmp_path / "test.json"))
    assert len(found) == 10 and found.names[0].target == "071/0002" and found.names[0].source == "054/0002"
    assert [pair.target.split("/")[1] for pair in found.names[:5]] == ["0002", "0006", "0010", "0014", "0018"]
    assert found.names[5].target_person == "054" and found.names[5].source_person == "071"
    assert found.names[0].result == "071_054/0002"
    assert found.left_out == {
        "pairs of videos of which one is not in the folder": 2,
        "pairs of videos of which one has fewer than 5 frames": 2,
    }


def test_results_of_frames_lie_in_a_folder_per_pair_of_videos() -> None:
    assert result_name("f01", "f02") == "f01_f02"
    assert result_name("c23/071/0003", "c23/054/0003") == "c23/071_054/0003"


def clips(root: Path) -> Path:
    """Three videos: 071 lacks its frame 4, 054 is whole, 099 is short."""
    crops(root / "071", *(f"f{k}.png" for k in range(1, 13) if k != 4))
    crops(root / "054", *(f"f{k}.png" for k in range(1, 13)))
    crops(root / "099", "f1.png", "f2.png")
    return root


def videos(root: Path, **more):
    options = {"frames": 2, "size": 32, "template": "ffhq", "stored_template": "ffhq"}
    return video_pairs(str(root), **options | more)


def test_successive_frames_lie_side_by_side_and_no_run_reaches_over_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("071_054\n054_099\n")
    found = videos(clips(tmp_path / "clips"), successive=3, pairs_file=str(tmp_path / "list.txt"))
    assert [name.target.split("/")[1] for name in found.names] == ["f1", "f2", "f3", "f8", "f9", "f10"]
    assert [name.source.split("/")[1] for name in found.names] == ["f5"] * 3 + ["f11"] * 3
    assert found.runs == [found.runs[0]] * 3 + [found.runs[3]] * 3 and found.runs[0] != found.runs[3]
    assert sum(found.left_out.values()) == 1 and found.facts["successive"] == 3


def test_every_frame_of_every_video_is_taken_in_order(tmp_path: Path) -> None:
    found = videos(clips(tmp_path), frames=None, name="videos", seed=3)
    mine = [k for k, name in enumerate(found.names) if name.target_person == "071"]
    assert [found.names[k].target.split("/")[1] for k in mine] == [f"f{k}" for k in (1, 2, 3, *range(5, 13))]
    assert len({found.runs[k] for k in mine[:3]}) == 1 and found.runs[mine[2]] != found.runs[mine[3]]
    assert len({found.names[k].source for k in mine}) == 1, "one photograph of the source"
    assert {name.target_person: name.source_person for name in found.names}.keys() == {"071", "054", "099"}
    assert all(name.target_person != name.source_person for name in found.names)


def test_a_frame_that_cannot_be_read_cuts_its_run(tmp_path: Path) -> None:
    path = clips(tmp_path) / "054" / "f6.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.warns(UserWarning, match="left out"):
        found = videos(tmp_path, frames=None)
    mine = [found.runs[k] for k, name in enumerate(found.names) if name.target_person == "054"]
    assert mine == [mine[0]] * 5 + [mine[-1]] * 6 and mine[0] != mine[-1]


def test_one_video_alone_has_no_source(tmp_path: Path) -> None:
    crops(tmp_path / "071", "f1.png", "f2.png")
    with pytest.raises(OptionError) as error:
        videos(tmp_path)
    assert error.value.argument == "pairs_file"
