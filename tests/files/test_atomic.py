from pathlib import Path

import pytest

from idn.errors import FileError
from idn.files.atomic import atomic_write
from tests.raising import raises


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_at_the_end_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as draft:
        draft.write_text("all")
        assert not path.exists() and draft.name == path.name
        assert draft.stat().st_dev == path.parent.stat().st_dev
    assert path.read_text() == "all" and names(tmp_path) == ["new", "new/file.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    path.write_text("before") if kind == "file" else (path / "in").mkdir(parents=True)
    before = names(tmp_path)

    def fail() -> None:
        with atomic_write(path) as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == before and (kind == "folder" or path.read_text() == "before")


def test_a_draft_that_was_never_written_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "before"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "package"
    for name in ("old", "new"):
        with atomic_write(path) as draft:
            draft.mkdir()
            (draft / name).touch()
    assert names(tmp_path) == ["package", "package/new"]


def test_files_of_one_stem_go_together_and_others_stay_behind(tmp_path: Path) -> None:
    path = tmp_path / "net.v1.xml"
    for content in ("old", "new"):
        with atomic_write(path) as draft:
            draft.write_text(content)
            draft.with_suffix(".bin").write_text(content)
            draft.with_name("traced.pt").touch()
            draft.with_name("net.bin").touch()
    assert names(tmp_path) == ["net.v1.bin", "net.v1.xml"]
    assert {file.read_text() for file in tmp_path.iterdir()} == {"new"}


@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_folder_is_no_place_for_a_file_nor_the_other_way_round(tmp_path: Path, there: str) -> None:
    path = tmp_path / "thing"
    path.write_text("before") if there == "file" else (path / "in").mkdir(parents=True)
    before = names(tmp_path)
    with raises(FileError, path=path), atomic_write(path) as draft:
        draft.mkdir() if there == "file" else draft.write_text("new")
    assert names(tmp_path) == before


def test_the_file_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with raises(FileError, path=tmp_path / "file"), atomic_write(tmp_path / "file/two/deep"):
        pytest.fail("it began")


@pytest.mark.parametrize("path", ["/", "..", "file/in"])
def test_a_path_that_can_be_no_file_is_refused_at_once(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("before")
    place = tmp_path / path if path == "file/in" else Path(path)
    with raises(FileError), atomic_write(place):
        pytest.fail("it began")
