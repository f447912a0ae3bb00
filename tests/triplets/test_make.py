"""`idn triplets`: what is exact on disk, resuming, several processes, bad input, and that its reader reads it."""

import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from idn.data.fstriplets.loaders import fstriplets_data
from idn.data.fstriplets.manifest import MANIFEST, Record, Triplet, read_manifest
from idn.data.procedural import FaceRenderer
from idn.errors import FileError, OptionError, UserError
from idn.files.photos import read_photo
from idn.provenance.metadata import said_by_picture, says_synthetic
from idn.triplets.drawn_people import DrawnPeople
from idn.triplets.edit import Edit
from idn.triplets.edited_elsewhere import EditedElsewhere
from idn.triplets.edits.beard import Beard
from idn.triplets.edits.conditions import Colour
from idn.triplets.edits.eyewear import Glasses
from idn.triplets.edits.hand import Hand
from idn.triplets.edits.warps import Jaw
from idn.triplets.make import TripletReport, make_triplets
from idn.triplets.photographs import FaceSource, Photographs
from idn.triplets.pictures import link
from idn.types import IdentityFeatures
from tests.bars import open_bars
from tests.raising import raises
from tests.triplets.conftest import AverageLandmarks, MiddleDetector, drawn

SIZE = 64
EDITS = {"beard": {"before": {"beard": [-1, -0.6]}, "after": {"beard": [0.5, 1]}}}
GRIN = {"grin": {"before": {"smile": [-1, -0.5]}, "after": {"smile": [0.5, 1]}}}


def save(path: Path, pixels: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faces of three persons, and what is no face."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(6):
        save(root / f"p{number // 2}/{number}.png", drawn(number, 80)[0])
    save(root / "p2/black.png", torch.zeros(3, 80, 80, dtype=torch.uint8))
    (root / "p2/torn.png").write_bytes(b"none")
    return root


def photographs(src: Path, edits: dict[str, Edit] | None = None, dense: bool = True, **options: object) -> Photographs:
    chosen = {"glasses": Glasses(), "hand": Hand(), "beard": Beard(300), "jaw": Jaw(), "colour": Colour()}
    faces = FaceSource(str(src), SIZE, "ffhq", MiddleDetector(), 20, "auto")
    landmarks = AverageLandmarks() if dense else None
    return Photographs(faces, chosen if edits is None else edits, 0, landmarks, **({"per_photograph": 3} | options))


def people(count: int = 2, **options: object) -> DrawnPeople:
    usual = {"edits": {"source_as_gt": EDITS, "target_as_gt": GRIN}}
    return DrawnPeople(count, SIZE, "ffhq", 0, FaceRenderer(), **(usual | options))


def made(dst: Path, *works: object, **options: object) -> TripletReport:
    return make_triplets(str(dst), works, SIZE, "ffhq", 0, **({"sheet": 0} | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def triplets(folder: Path) -> list[Triplet]:
    return [triplet for record in read_manifest(folder)[1] for triplet in record.made()]


def differs(folder: Path, one: str, other: str) -> Tensor:
    return (read_photo(folder / one) != read_photo(folder / other)).any(0)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triplets of drawn people and of photographs, made in one go."""
    folder = tmp_path_factory.mktemp("whole") / "triplets"
    made(folder, people(), photographs(photos), sheet=2)
    return folder


def test_results_differ_from_their_picture_nowhere_outside_of_the_region(whole: Path) -> None:
    found = triplets(whole)
    for one in found:
        photograph = one.source if one.folder.startswith("target_as_gt") else one.result
        where = differs(whole, photograph, one.target)
        assert where.any(), one
        if one.region is not None:
            region = read_photo(whole / one.region)[0] > 0
            assert not (where & ~region).any() and not region.all(), one
        kind = one.folder.partition("/")[0]
        assert {"source_as_gt": one.source, "target_as_gt": one.target}.get(kind, one.result) == one.result
        assert json.loads(json.dumps(one.parameters)) == one.parameters and one.seed > 0
    kinds = Counter(one.folder.partition("/")[0] for one in found)
    assert kinds.keys() == {"source_as_gt", "target_as_gt", "edited_target"} and kinds["edited_target"] > 4
    assert any(one.edit == "swap" for one in found) and any(one.edit in ("beard", "jaw") for one in found)


def test_the_manifest_knows_every_file_and_why_a_photograph_gave_none(whole: Path) -> None:
    settings, records = read_manifest(whole)
    noted = {path: digest for record in records for path, digest in record.digests.items()}
    files = contents(whole)
    assert files.keys() - {MANIFEST, "contact_sheet.png"} == noted.keys()
    assert all(sha256(files[path]).hexdigest() == digest for path, digest in noted.items())
    assert {record.job: record.status for record in records if record.status != "ok"} == {
        "photograph p2/black.png": "no_face",
        "photograph p2/torn.png": "unreadable",
    }
    assert settings.photographs and settings.options["per_photograph"] == 3


def test_edited_and_drawn_pictures_say_so_and_photographs_do_not(whole: Path) -> None:
    for one in triplets(whole):
        with Image.open(whole / one.target) as picture:
            assert says_synthetic(said_by_picture(picture)) and "face" in picture.text["Comment"]
    with Image.open(whole / "vanilla/p0/0.png") as picture:
        assert picture.text == {}
    with Image.open(whole / "contact_sheet.png") as picture:
        assert says_synthetic(said_by_picture(picture)) and picture.width > 112


def test_a_stopped_run_goes_on_to_the_same_bytes(whole: Path, photos: Path, tmp_path: Path, capsys) -> None:
    class Stopped(Photographs):
        def make(self, job: int):
            if job == 2:
                raise KeyboardInterrupt
            return super().make(job)

    work = photographs(photos)
    work.__class__ = Stopped
    with pytest.raises(KeyboardInterrupt) as stop:
        made(tmp_path / "again", people(), work)
    assert stop.tb and open_bars() == 0
    assert "4 of 10 jobs are done" in capsys.readouterr().err
    with (tmp_path / "again" / MANIFEST).open("a") as file:
        file.write('{"job": "torn')
    report = made(tmp_path / "again", people(), photographs(photos), sheet=2)
    assert contents(tmp_path / "again") == contents(whole) and 0 < report.fresh < sum(report.classes().values())


def test_several_processes_write_the_same_bytes(whole: Path, photos: Path, tmp_path: Path) -> None:
    made(tmp_path / "shared", people(), photographs(photos), workers=2, sheet=2)
    assert contents(tmp_path / "shared") == contents(whole)


def test_its_reader_reads_it(whole: Path, photos: Path, tmp_path: Path, capsys) -> None:
    made(tmp_path / "flat", people(4))
    probabilities = {"edited_target": 1, "source_as_gt": {"beard": 1}, "target_as_gt": {"grin": 1}}
    data = fstriplets_data(str(tmp_path / "flat"), 32, "ffhq", 4, 0, probabilities, holdout=0.3, workers=0)
    assert not data.photographs and "left out: none" in capsys.readouterr().err
    for index in range(12):
        item = data.train[index]
        assert item.truth_known.all() and item.landmarks.isfinite().all()
        inside = torch.nn.functional.max_pool2d((item.truth - item.target).abs().amax(1, keepdim=True), 1)
        assert float((inside > 0.02).float().mean()) < 0.5


def test_other_options_or_another_folder_are_refused(whole: Path, photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "copy")
    with raises(OptionError, argument="per_photograph"):
        made(folder, people(), photographs(photos, per_photograph=1))
    with raises(OptionError, argument="seed"):
        make_triplets(str(folder), [people(), photographs(photos)], SIZE, "ffhq", 1)
    with raises(OptionError, argument="src"):
        made(folder, people())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file.txt").touch()
    with raises(OptionError, MANIFEST, argument="dst"):
        made(tmp_path / "other", people())
    assert contents(folder) == contents(whole)


def test_sources_that_cannot_be(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for src in (tmp_path / "empty", tmp_path / "nowhere"):
        with raises(OptionError, argument="src"):
            photographs(src)
    with raises(OptionError, argument="edits"):
        photographs(photos, {"beard": Beard()}, dense=False)
    save(tmp_path / "black/a.png", torch.zeros(3, 80, 80, dtype=torch.uint8))
    with raises(FileError, path=tmp_path / "out"):
        made(tmp_path / "out", photographs(tmp_path / "black"))
    for edits, argument in (
        ({"source_as_gt": {"x": {"before": {}, "after": {"smile": [0, 1]}}}}, "edits.source_as_gt.x.smile"),
        ({"target_as_gt": {"x": {"before": {}, "after": {"smile": [0, 2]}}}}, "edits.target_as_gt.x.smile"),
        ({"vanilla": {"x": {"before": {}, "after": {}}}}, "edits.vanilla.x"),
    ):
        with raises(OptionError, argument=argument):
            people(edits=edits)


def test_a_link_is_made_where_one_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    link(tmp_path / "b/c", tmp_path / "a")
    link(tmp_path / "b/c", tmp_path / "a")
    assert (tmp_path / "b/c").samefile(tmp_path / "a") and [p.name for p in (tmp_path / "b").iterdir()] == ["c"]


class MeanColour:
    """Tells people apart by the colour of the middle."""

    name = "mean colour"

    def __call__(self, images: Tensor) -> IdentityFeatures:
        middle = images[:, :, 24:40, 24:40].mean((2, 3)) - 0.5
        return IdentityFeatures(torch.nn.functional.normalize(middle), images)


def elsewhere(root: Path, **options: object) -> EditedElsewhere:
    return EditedElsewhere(FaceSource(str(root), SIZE, "ffhq", MiddleDetector(), 20, "flat"), MeanColour(), **options)


def flat(*rgb: int, size: tuple[int, int] = (80, 80)) -> Tensor:
    return torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1).expand(3, *size).clone()


def test_pairs_of_another_program_are_measured(tmp_path: Path) -> None:
    root, red = tmp_path / "edited", flat(200, 100, 90)
    good, stained, other = red.clone(), red.clone(), flat(20, 160, 200)
    good[:, 45:50, 30:50] = 60
    stained[:, :, :12] = 0
    stained[:, :, -12:] = 0
    for name, after in (("good", good), ("stained", stained), ("other", other), ("same", red)):
        save(root / f"hats/{name}.original.png", red)
        save(root / f"hats/{name}.edited.png", after)
    save(root / "hats/alone.original.png", red)
    save(root / "hats/lost.edited.png", red)
    save(root / "wigs/original/w.png", red)
    save(root / "wigs/edited/w.jpg", good)
    save(root / "wigs/original/wide.png", red)
    save(root / "wigs/edited/wide.png", flat(200, 100, 90, size=(80, 90)))
    save(root / "wigs/original/torn.png", red)
    (root / "wigs/edited/torn.png").write_bytes(b"none")
    report = made(tmp_path / "out", elsewhere(root))
    status = {Path(record.job.removeprefix("pair ")).name: record.status for record in report.records}
    assert status == {
        "good.original.png": "ok",
        "stained.original.png": "changed_outside",
        "other.original.png": "another_person",
        "same.original.png": "unchanged",
        "alone.original.png": "no_partner",
        "lost.edited.png": "no_partner",
        "w.png": "ok",
        "wide.png": "sizes_differ",
        "torn.png": "unreadable",
    }
    assert all(record.reason for record in report.records if record.status != "ok")
    assert report.classes() == {"target_as_gt/hats": 1, "target_as_gt/wigs": 1}
    measured = triplets(tmp_path / "out")[0].parameters
    assert measured["identity"] > 0.9 and measured["change_outside"] < 0.01
    lenient = made(tmp_path / "all", elsewhere(root, least_identity=None, largest_change=None, kind="source_as_gt"))
    assert lenient.classes() == {"source_as_gt/hats": 3, "source_as_gt/wigs": 1}


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "one/a.png", flat(1, 2, 3))
    with raises(FileError, path=tmp_path / "one"):
        elsewhere(tmp_path / "one")
    with raises(OptionError, argument="kind"):
        save(tmp_path / "two/a.original.png", flat(1, 2, 3))
        save(tmp_path / "two/a.edited.png", flat(1, 2, 3))
        elsewhere(tmp_path / "two", kind="vanilla")


def test_the_verb(idn_cli, tmp_path: Path) -> None:
    status, _, said = idn_cli("triplets", "dst=out")
    assert status == 2 and said.count("\n") == 1 and "people=N" in said
    status, out, said = idn_cli("triplets", "dst=out", "people=1", "size=64", "workers=0")
    assert status == 0 and "edited_target" in out and "data=fstriplets" in out
    assert (tmp_path / "out" / MANIFEST).is_file()
    status, _, said = idn_cli("triplets", "dst=out", "people=1", "size=32", "workers=0")
    assert status == 2 and said.startswith("idn: size=32 differs from 64")
    for words, part in (
        (["pairs=nowhere"], "encoder=mobilefacenet"),
        (["src=nowhere"], "src=nowhere is not a folder"),
        (["src=out", "cut_outs=nowhere"], "cut_outs=nowhere"),
        (["people=1", "template=mtcnn"], "template=mtcnn"),
    ):
        status, _, said = idn_cli("triplets", "dst=new", "size=64", *words)
        assert status == 2 and said.count("\n") == 1 and part in said, said
    assert not (tmp_path / "new").exists()


def test_records_are_those_of_the_verb() -> None:
    with pytest.raises(TypeError):
        Record("a", triplets=[{"folder": "x"}])
    assert issubclass(FileError, UserError)
