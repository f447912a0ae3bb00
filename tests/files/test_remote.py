import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest
import torch

from idn.encoders.trained import BUNDLED, TrainedMobileFaceNet
from idn.errors import FileError, MissingExtra, MissingFile, UnfitTensors
from idn.files import remote as remote_files
from idn.files.remote import exists, is_url, local, send
from idn.files.tensors import load_strict, read_tensors, write_tensors
from teachers.record import FaceInput, SourceInput, TeacherRecord
from teachers.weight_files import read_network
from tests.raising import raises


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which a server on this machine gives it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *said: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_weights_behind_a_url_are_read_as_strictly_as_local_ones(
    memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    write_tensors(tmp_path / "w.safetensors", {"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    send(tmp_path / "w.safetensors", "memory://bucket/models/w.safetensors")
    for url in ("memory://bucket/models/w.safetensors", Path("memory://bucket/models/w.safetensors")):
        assert torch.equal(read_tensors(url)["weight"], torch.ones(2, 2))
    with raises(UnfitTensors):
        load_strict(torch.nn.Linear(3, 3), read_tensors("memory://bucket/models/w.safetensors"), "w")
    with raises(MissingFile, "memory://bucket/models/x.safetensors"):
        read_tensors("memory://bucket/models/x.safetensors")


def test_encoders_and_teachers_are_read_from_urls(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    send(BUNDLED, "memory://bucket/encoder.safetensors")
    encoder = TrainedMobileFaceNet("memory://bucket/encoder.safetensors", "ffhq")
    assert encoder.name == TrainedMobileFaceNet(None, "ffhq").name
    write_tensors(tmp_path / "w.safetensors", {"weight": torch.ones(2)})
    send(tmp_path / "w.safetensors", "memory://bucket/w.safetensors")
    record = TeacherRecord("GHOST", "CC0", True, FaceInput(), SourceInput("nothing"))
    assert set(read_network("memory://bucket/w.safetensors", record, "GHOST")) == {"weight"}
    with raises(MissingFile, "memory://bucket/none.pth"):
        read_network("memory://bucket/none.pth", record, "GHOST")


def test_a_copy_is_kept_until_the_original_changes(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/a/x.bin", b"one")
    assert local("memory://a/x.bin").read_bytes() == b"one"
    fetched: list[str] = []
    real = remote_files.fetch
    monkeypatch.setattr(remote_files, "fetch", lambda place, to: (fetched.append(place.url), real(place, to)))
    assert local("memory://a/x.bin").read_bytes() == b"one" and not fetched
    memory.pipe("/a/x.bin", b"two, longer")
    assert local("memory://a/x.bin").read_bytes() == b"two, longer" and fetched == ["memory://a/x.bin"]


def test_a_folder_comes_with_all_its_files(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/a/cache.json": b"{}", "/a/deep/1.bin": b"1"})
    folder = local("memory://a")
    assert (folder / "cache.json").read_bytes() == b"{}" and (folder / "deep/1.bin").read_bytes() == b"1"


def test_files_of_a_web_server(served: tuple[Path, str]) -> None:
    folder, url = served
    write_tensors(folder / "w.safetensors", {"a": torch.arange(3)})
    assert torch.equal(read_tensors(f"{url}/w.safetensors")["a"], torch.arange(3))
    (folder / "large.bin").write_bytes(bytes(6 << 20))  # more than a client of parts asks for at once
    assert local(f"{url}/large.bin").stat().st_size == 6 << 20
    assert exists(f"{url}/w.safetensors") and not exists(f"{url}/nothing.bin")
    with raises(MissingFile, "nothing.bin"):
        read_tensors(f"{url}/nothing.bin")


def test_a_copy_that_breaks_off_leaves_nothing(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    memory.pipe("/a/x.bin", b"content")

    def broken(*given: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patched, raises(FileError, "gone", "credentials"):
        patched.setattr(type(memory), "get_file", broken)
        local("memory://a/x.bin")
    assert not list(cache.rglob("x.bin"))
    assert local("memory://a/x.bin").read_bytes() == b"content"


def test_a_missing_package_and_an_unknown_protocol_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(remote_files, "url_to_fs", missing)
    with raises(MissingExtra, "s3://", "remote"):
        local("s3://bucket/x.safetensors")
    with raises(FileError, "ftpx://a/b begins with ftpx://"):
        local("ftpx://a/b")


def test_paths_are_no_urls() -> None:
    for path in ("a/b.pt", "/a/b", "C:/x", "s3:", "./s3:/x", "http:///", "a=b"):
        assert not is_url(path)
    assert is_url("s3://b/x") and is_url(Path("s3://b/x")) and is_url("gs://b")
    assert local("a/b.pt") == Path("a/b.pt")
