"""The published folder layout: partners, probabilities, what is exact, what is left out, and every bad folder."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from idn.data.crop_reader import CropReader
from idn.data.fstriplets.augment import TripletAugment
from idn.data.fstriplets.dataset import FSTriplets
from idn.data.fstriplets.folder import TripletFolder
from idn.data.fstriplets.layout import partner, scan_tree
from idn.data.fstriplets.loaders import fstriplets_data
from idn.data.fstriplets.manifest import MANIFEST, Record, Settings, Triplet
from idn.data.fstriplets.mixture import Mixture, by_class
from idn.errors import DamagedFile, FileError, ForeignFile, OptionError
from idn.images import to_uint8
from idn.types import SwapBatch, join_batches
from tests.raising import raises

SIZE = 32
ALL = {
    "vanilla": 0.4,
    "vanilla_same": 0.1,
    "edited_target": 0.1,
    "source_as_gt": {"beard": 0.2},
    "target_as_gt": {"glasses": 0.1, "bald": 0.1},
}


def draw(path: Path, rgb: tuple[int, int, int], size: tuple[int, int] = (SIZE, SIZE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, rgb)
    picture.paste((0, 0, 0), (0, 0, 4, 4))  # top left
    picture.save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """16 people: red tells who, blue what: 0 photographs, 100 edited versions, 50 others of a set."""
    root = tmp_path / "triplets"
    for person in range(16):
        red = person * 15 + 10
        draw(root / f"vanilla/p{person:02d}.png", (red, 10, 0))
        for number, kind in enumerate(("source_as_gt/beard", "target_as_gt/glasses", "target_as_gt/bald")):
            draw(root / f"{kind}/p{person:02d}.original.png", (red, 50 * number, 0))
            draw(root / f"{kind}/p{person:02d}.edited.png", (red, 50 * number, 100))
        draw(root / f"edited_target/original/p{person:02d}/1.png", (red, 150, 50))
        draw(root / f"edited_target/original/p{person:02d}/2.png", (red, 200, 50))
        draw(root / f"edited_target/edited/p{person:02d}_smiling/1.png", (red, 150, 100))
        draw(root / f"edited_target/edited/p{person:02d}_smiling/2.png", (red, 200, 100))
    return root


def triplets(root: Path, probabilities: dict | None = None, **options: object) -> FSTriplets:
    asked = by_class(ALL if probabilities is None else probabilities)
    read = CropReader(root, SIZE, "ffhq", "ffhq")
    return FSTriplets(TripletFolder(str(root)), read, asked, **({"holdout": 0.3} | options))


def data(root: Path, **options: object):
    usual = {"size": SIZE, "template": "ffhq", "stored_template": "ffhq", "batch": 4, "seed": 0, "probabilities": ALL}
    return fstriplets_data(str(root), **(usual | {"holdout": 0.3, "workers": 0} | options))


def seen(image: torch.Tensor) -> list[int]:
    """Colour of the middle of (1, 3, S, S)."""
    return to_uint8(image)[0, :, SIZE // 2, SIZE // 2].tolist()


def equal(a: SwapBatch, b: SwapBatch) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


def test_partners_are_found_by_their_marks_and_sets_by_the_longest_beginning(root: Path) -> None:
    assert partner("a/x.original.png") == "a/x.edited.png" and partner("a/x.edited.jpg") == "a/x.original.jpg"
    assert partner("a.original.d/x.png") is None
    draw(root / "edited_target/original/p1/9.png", (1, 1, 1))
    draw(root / "edited_target/edited/p1_old/9.png", (1, 1, 1))  # also begins p10 ... nobody's
    tree = scan_tree(root)
    assert {len(pairs) for pairs in tree.pairs.values()} == {16} and len(tree.edited_target) == 33
    of = {one.original: one for one in tree.edited_target}
    assert of["edited_target/original/p11/1.png"].edited == ("edited_target/edited/p11_smiling/1.png",)
    assert of["edited_target/original/p1/9.png"].edited == ("edited_target/edited/p1_old/9.png",)
    assert of["edited_target/original/p11/1.png"].others == ("edited_target/original/p11/2.png",)
    assert len({one.who for one in tree.vanilla}) == 16 and tree.pairs["source_as_gt/beard"][3].who == "p03"


@pytest.mark.parametrize(
    ("name", "known", "photograph"),
    [
        ("vanilla", False, True),
        ("vanilla_same", True, True),
        ("edited_target", True, True),
        ("source_as_gt/beard", True, True),
        ("target_as_gt/glasses", True, False),
        ("target_as_gt/bald", True, False),
    ],
)
def test_what_each_class_knows(name: str, known: bool, photograph: bool, root: Path) -> None:
    kind, _, inner = name.partition("/")
    items = [triplets(root, {kind: {inner: 1} if inner else 1})[i] for i in range(12)]
    turned = set()
    for one in items:
        (source, target, truth) = map(seen, (one.source, one.target, one.truth))
        assert one.truth_known.tolist() == [known] and one.source_is_photograph.tolist() == [photograph]
        assert one.same.tolist() == [truth == target and known]
        assert (source[0] == target[0]) == (name != "vanilla")
        turned.add(target[2])
        if name == "vanilla":
            assert truth == target
        elif name == "source_as_gt/beard":
            assert truth == source and (source[2], target[2]) == (0, 100)
        elif kind == "target_as_gt":
            assert truth == target and source[2] != target[2]
        elif name == "edited_target":
            assert truth[1] == target[1] != source[1] and (truth[2], target[2], source[2]) == (50, 100, 50)
    assert turned == (
        {0, 100} if inner == "glasses" else {100} if name in ("edited_target", "source_as_gt/beard") else {0}
    )


def test_classes_come_as_often_as_asked_and_absent_ones_go_to_the_others(root: Path, capsys) -> None:
    mixture = Mixture(
        {"vanilla": 0.6, "source_as_gt/beard": 0.1, "target_as_gt/grin": 0.3}, ["vanilla", "source_as_gt/beard"]
    )
    assert mixture.shares == pytest.approx({"vanilla": 6 / 7, "source_as_gt/beard": 1 / 7})
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(mixture.draw(generator) for _ in range(4000))
    assert drawn["vanilla"] / 4000 == pytest.approx(6 / 7, abs=0.02)
    probabilities = ALL | {"target_as_gt": {"glasses": 0.1, "grin": 0.1}}
    data(root, probabilities=probabilities)
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "absent: target_as_gt/grin" in said
        and "without probability: target_as_gt/bald" in said
    )


def test_the_published_probabilities_are_the_config(root: Path) -> None:
    from omegaconf import OmegaConf

    from idn.cli import conf_dir

    config = OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/fstriplets.yaml"))["probabilities"]
    found, published = by_class(config), 0.0
    for name in ("beard", "fat", "bald", "grin", "forehead_hair_1", "forehead_hair_2", "glasses", "sun_glasses"):
        published += sum(value for key, value in found.items() if key.endswith(f"/{name}"))
    assert published + found["vanilla"] + found["vanilla_same"] + found["edited_target"] == pytest.approx(1)


def test_people_held_out_are_nowhere_in_training(root: Path) -> None:
    train, val = triplets(root), triplets(root, part="val")
    people = [{one.who for found in part.content.values() for one in found} for part in (train, val)]
    assert not people[0] & people[1] and len(people[0] | people[1]) == 16 and len(people[1]) >= 2
    assert "vanilla_same" not in val.mixture.names
    assert equal(val[3], triplets(root, part="val", seed=9)[3]) and not equal(train[3], triplets(root, seed=9)[3])


def test_items_depend_on_their_number_alone_and_no_epoch_repeats_another(root: Path) -> None:
    one, other = triplets(root, augment=TripletAugment()), triplets(root, augment=TripletAugment())
    backwards = {i: other[i] for i in reversed(range(30))}
    assert all(equal(one[i], backwards[i]) for i in range(30))
    epoch = len(one)
    repeated = [equal(one[i], one[epoch + i]) for i in range(20)]
    assert sum(repeated) < 3


def test_an_augmented_target_takes_its_result_along_and_pixel_exact_triplets_stay(root: Path) -> None:
    augment = TripletAugment(flip=1.0, jitter=1.0, brightness=0.9)
    for probabilities, moves in (({"target_as_gt": {"glasses": 1}}, True), ({"source_as_gt": {"beard": 1}}, False)):
        one, plain = (triplets(root, probabilities, augment=a)[0] for a in (augment, None))
        corner = [bool((x[0, :, 0, -1] < 0.01).all()) for x in (one.source, one.target, one.truth)]
        assert corner == [moves] * 3
        assert equal(one, plain) is not moves
        if moves:
            assert torch.equal(one.target, one.truth)
    edited = triplets(root, {"edited_target": 1}, augment=augment)[0]
    assert [bool((x[0, :, 0, 0] < 0.01).all()) for x in (edited.source, edited.target, edited.truth)] == [
        False,
        True,
        True,
    ]


def test_occluders_lie_on_target_and_result_and_not_on_the_face(root: Path) -> None:
    picture = Image.new("RGB", (40, 40), "white")
    picture.paste((0, 255, 0), (10, 10, 30, 30))
    (root / "shapenet_png").mkdir()
    picture.save(root / "shapenet_png/box.png")
    for kind in ("vanilla", "edited_target"):
        one, plain = (triplets(root, {kind: 1}, occlusion=o)[1] for o in (1.0, 0.0))
        green = (one.target[0] - torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)).abs().amax(0) < 0.01
        assert 8**2 <= int(green.sum()) <= 12**2 and float(one.face[0, 0][green].max()) == 0
        assert torch.equal(one.truth[0][:, green], one.target[0][:, green]) and torch.equal(one.source, plain.source)
        assert torch.equal(one.target[0][:, ~green], plain.target[0][:, ~green])
    with raises(OptionError, argument="root"):
        triplets(root.parent / "triplets", occlusion=1.0).folder.root.joinpath("shapenet_png/box.png").unlink()
        triplets(root, occlusion=1.0)


def test_a_manifest_tells_template_landmarks_and_what_covers_the_face(root: Path) -> None:
    region = "regions/target_as_gt/glasses/p00.png"
    (root / region).parent.mkdir(parents=True)
    cover = Image.new("L", (SIZE, SIZE), 0)
    cover.paste(255, (0, 0, SIZE, SIZE // 2))
    cover.save(root / region)
    points = [[0.4, 0.45], [0.6, 0.45], [0.52, 0.55], [0.42, 0.65], [0.58, 0.65]]
    lines = [Settings("ffhq", SIZE, False, 0, "0").__dict__]
    for person in range(16):
        names = [f"target_as_gt/glasses/p{person:02d}.{v}.png" for v in ("original", "edited")]
        made = Triplet("target_as_gt/glasses", "glasses", 1, {}, *names, names[1], region, True)
        lines.append(Record(f"p{person}", triplets=[made.__dict__], landmarks=dict.fromkeys(names, points)).as_line())
    (root / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = data(root, stored_template=None, augment=TripletAugment(flip=1.0, jitter=0.0, grey_target=0.0))
    assert found.photographs is False
    one = next(item for i in range(200) if seen((item := found.train[i]).target)[1:] == [50, 100])
    assert float(one.face[..., : SIZE // 2, :].max()) == 0 < float(one.face.max())
    expected = [[1 - x, y] for x, y in (points[k] for k in (1, 0, 2, 4, 3))]
    assert torch.allclose(one.landmarks[0], torch.tensor(expected))
    unknown = next(item for i in range(200) if not (item := found.train[i]).truth_known)
    assert unknown.landmarks.isnan().all()
    with raises(OptionError, argument="stored_template"):
        data(root, stored_template="mtcnn")


def test_batches_join_and_other_sizes_are_brought_to_the_wanted_one(root: Path) -> None:
    found = data(root, size=64, batch=3)
    batch = join_batches([found.train[i] for i in range(3)])
    assert batch.truth.shape == (3, 3, 64, 64) and batch.truth_known.shape == batch.source_is_photograph.shape == (3,)
    assert data(root, targets_per_identity=None).batch_size == 4
    with raises(OptionError, argument="targets_per_identity"):
        data(root, targets_per_identity=2)
    with raises(OptionError, argument="stored_template"):
        data(root, stored_template=None)


def test_bad_pictures_are_left_out_and_counted(root: Path, capsys) -> None:
    (root / "source_as_gt/beard/p00.edited.png").unlink()
    (root / "target_as_gt/glasses/p01.edited.png").write_bytes(b"no picture")
    draw(root / "target_as_gt/bald/p02.original.png", (1, 1, 1), (SIZE, 40))
    draw(root / "target_as_gt/bald/odd.png", (1, 1, 1))
    for path in (root / "edited_target/edited/p03_smiling").iterdir():
        path.unlink()
    found = data(root)
    said = capsys.readouterr().err
    for part in ("1 without partner (source_as_gt/beard/p00.original.png)", "1 unreadable", "1 not square", "odd.png"):
        assert part in said
    counts = {name: len(of) for name, of in found.train.folder.tree.classes().items()}
    assert counts["source_as_gt/beard"] == counts["target_as_gt/glasses"] == counts["target_as_gt/bald"] == 15
    assert counts["edited_target"] == 30 and said.count("\n") == 1
    assert all(math.isfinite(float(found.train[i].target.mean())) for i in range(40))


def test_pictures_that_break_later_are_passed_over_until_there_are_too_many(root: Path) -> None:
    found = data(root)
    for path in root.glob("**/*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.warns(UserWarning), raises(FileError, "too many unreadable", path=root):
        found.train[0]


@pytest.mark.parametrize(
    ("probabilities", "argument"),
    [
        ({"vanilla": 0, "source_as_gt": {"beard": 0}}, "probabilities"),
        ({"vanila": 1}, "probabilities.vanila"),
        ({"source_as_gt": {"beard": -1}}, "probabilities.source_as_gt.beard"),
        ({"source_as_gt": 0.5}, "probabilities.source_as_gt"),
        ({"target_as_gt": {"grin": 1}}, "probabilities"),
        (3, "probabilities"),
    ],
)
def test_probabilities_that_cannot_be(probabilities: object, argument: str, root: Path) -> None:
    with raises(OptionError, argument=argument):
        data(root, probabilities=probabilities)


def test_folders_that_cannot_be(root: Path, tmp_path: Path) -> None:
    with raises(OptionError, argument="root"):
        data(tmp_path / "nowhere")
    draw(tmp_path / "celeba/img_align_celeba/1.png", (1, 1, 1))
    with raises(OptionError, "img_align_celeba", argument="root"):
        data(tmp_path / "celeba")
    (tmp_path / "empty/source_as_gt/beard").mkdir(parents=True)
    with raises(OptionError, "no triplet", argument="root"):
        data(tmp_path / "empty")
    draw(tmp_path / "alone/source_as_gt/beard/a.original.png", (1, 1, 1))
    with raises(OptionError, "without partner", argument="root"):
        data(tmp_path / "alone")
    with raises(OptionError, argument="holdout"):
        data(root, holdout=0)
    (root / MANIFEST).write_text("nothing\n")
    with raises(DamagedFile, path=root / MANIFEST):
        data(root)
    (root / MANIFEST).write_text('{"a": 1}\n')
    with raises(ForeignFile, path=root / MANIFEST):
        data(root)
