import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from idn.data.alignment.manifest import NAME, ManifestWriter, Record, Settings
from idn.data.augment import Augment
from idn.data.labelled_faces import IdentityFolder
from idn.data.photo_folder import FaceFolder
from idn.data.photo_pairs import FaceSwaps, faces_data
from idn.errors import FileError, OptionError
from idn.files.photos import UnreadablePhoto, digest
from idn.geometry.affine import transform_points
from idn.geometry.templates import between_templates, template_points
from idn.geometry.warping import realign
from idn.types import SwapBatch, join_batches
from tests.raising import raises

SIZE = 32


def colour(person: int, number: int) -> tuple[int, int, int]:
    """Red tells the person, green the photograph."""
    return (person * 6 + 20, number * 20 + 20, 128)


def draw(path: Path, rgb: tuple[int, int, int], size: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), rgb).save(path)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """30 people with 3 photographs each."""
    for person in range(30):
        for number in range(3):
            draw(tmp_path / f"people/p{person:02d}/{number}.png", colour(person, number))
    return tmp_path / "people"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """30 people with one photograph each, in three formats."""
    for person in range(30):
        draw(tmp_path / f"flat/{person:02d}{('.png', '.webp', '.jpg')[person % 3]}", colour(person, 0))
    return tmp_path / "flat"


def crops(root: Path, size: int = SIZE, template: str = "ffhq", **options: object) -> FaceFolder:
    """A folder without a manifest: somebody must say how its faces are aligned."""
    return FaceFolder(str(root), size, template, **({"stored_template": "ffhq"} | options))


def swaps(root: Path, part: str = "train", **options: object) -> FaceSwaps:
    return FaceSwaps(crops(root), part, **({"holdout": 0.3} | options))


def who(image: torch.Tensor) -> int:
    """The person in (3, S, S)."""
    return round((float(image[0].mean()) * 255 - 20) / 6)


def equal(a: SwapBatch, b: SwapBatch) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


def test_layout_is_found_by_looking(people: Path, flat: Path, tmp_path: Path) -> None:
    assert len(crops(people).identities) == 30
    assert len(crops(flat).identities) == 30 and crops(flat).flat
    for thousand in ("00000", "01000"):
        for number in range(3):
            draw(tmp_path / "ffhq" / thousand / f"{number:05d}.png", (int(thousand) // 100, number, 9))
    assert len(crops(tmp_path / "ffhq").identities) == 6
    assert len(crops(tmp_path / "ffhq", layout="identities").identities) == 2
    assert len(crops(people, layout="flat").identities) == 90


@pytest.mark.parametrize("targets", [1, 3])
def test_items_have_the_shapes_of_a_batch(people: Path, targets: int) -> None:
    sample = swaps(people, targets_per_identity=targets)[0]
    assert sample.source.shape == sample.target.shape == (targets, 3, SIZE, SIZE)
    assert sample.face.shape == (targets, 1, SIZE, SIZE) and sample.face.max() == 1 and sample.face.min() == 0
    assert sample.same.dtype == torch.bool and sample.same.shape == (targets,)
    assert sample.targets_per_identity == targets and sample.sources.shape == (1, 3, SIZE, SIZE)
    assert sample.truth is None and sample.source_identity is None and sample.target_attributes is None


def test_same_ratio_and_labels(people: Path) -> None:
    data = swaps(people, same_ratio=0.3)
    samples = [data[i] for i in range(300)]
    assert 60 < sum(bool(s.same) for s in samples) < 120
    for s in samples:
        assert bool(s.same) == (who(s.source[0]) == who(s.target[0]))
        if s.same:
            assert not torch.equal(s.source, s.target)  # another photograph of the same person
    assert len({who(s.source[0]) for s in samples}) == len({who(s.target[0]) for s in samples}) == len(data.people)


def test_targets_of_one_source_are_of_one_person_or_another_each_for_itself(people: Path) -> None:
    data = swaps(people, same_ratio=0.4, targets_per_identity=5, augment=Augment(flip=0, brightness=0, tint=0))
    samples = [data[i] for i in range(60)]
    for s in samples:
        assert all(torch.equal(source, s.source[0]) for source in s.source)
        assert len({float(target[2].std()) for target in s.target}) > 1  # each changed in its own way
    share = torch.cat([s.same for s in samples]).float().mean()
    assert 0.3 < share < 0.5 and len({int(s.same.sum()) for s in samples}) > 3


def test_no_photograph_is_paired_with_itself_unless_that_is_wanted(flat: Path, people: Path) -> None:
    (people / "p00/0.png").unlink(), (people / "p00/1.png").unlink()
    for root in (flat, people):
        for sample in map(swaps(root, same_ratio=1.0, targets_per_identity=2).__getitem__, range(60)):
            for source, target, same in zip(sample.source, sample.target, sample.same, strict=True):
                assert not torch.equal(source, target) and bool(same) == (who(source) == who(target))
    assert not any(swaps(flat, same_ratio=1.0)[i].same.any() for i in range(20))
    plain = swaps(flat, same_ratio=1.0, same_photograph=True)[4]
    assert torch.equal(plain.source, plain.target) and plain.same.all()
    changed = swaps(flat, same_ratio=1.0, same_photograph=True, augment=Augment())[4]
    assert not torch.equal(changed.source, changed.target)


def test_who_has_no_second_photograph_is_told(flat: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(root: Path, **options: object) -> str:
        faces_data(str(root), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.3, workers=0, **options)
        return capsys.readouterr().err

    assert said(flat).endswith("; pairs of one person take two photographs, which nobody has\n")
    assert "two photographs" not in said(flat, same_ratio=0.0) + said(flat, same_photograph=True) + said(people)
    data = swaps(people)
    for photo in data.people[0][1:]:
        (people / data.folder.names[photo]).unlink()
    assert said(people).endswith("which 1 of 20 identities do not have\n")


def test_parts_are_disjoint_and_complete(people: Path) -> None:
    folder = crops(people)
    train, val = ([i for photos in folder.split(part, 0.3) for i in photos] for part in ("train", "val"))
    assert sorted(train + val) == list(range(90))
    assert {folder.names[i].split("/")[0] for i in train}.isdisjoint({folder.names[i].split("/")[0] for i in val})
    assert 3 <= len(folder.split("val", 0.3)) <= 15


def test_held_out_people_stay_held_out_when_others_join(people: Path) -> None:
    def held_out() -> set[str]:
        folder = crops(people)
        return {folder.names[photos[0]].split("/")[0] for photos in folder.split("val", 0.3)}

    before = held_out()
    for person in range(30, 60):
        draw(people / f"p{person:02d}/0.png", (5, person, 5))
    after = held_out()
    assert {name for name in after if name < "p30"} == before and len(after) > len(before)


def test_items_depend_on_seed_and_index_alone(people: Path) -> None:
    a, b = (swaps(people, seed=3, augment=Augment()) for _ in range(2))
    torch.manual_seed(0)
    first = [a[i] for i in range(12)]
    torch.manual_seed(1)
    again = [b[i] for i in reversed(range(12))][::-1]
    assert all(equal(x, y) for x, y in zip(first, again, strict=True))
    other = swaps(people, seed=4, augment=Augment())
    assert not any(equal(x, other[i]) for i, x in enumerate(first))
    assert not equal(a[0], a[1]) and equal(a[10**6], b[10**6])


def test_validation_pairs_do_not_depend_on_the_seed(people: Path) -> None:
    a, b = swaps(people, "val", seed=3), swaps(people, "val", seed=4)
    assert all(equal(a[i], b[i]) for i in range(8))


def test_cache_changes_nothing(people: Path) -> None:
    plain, kept = (
        FaceSwaps(crops(people, SIZE, "arcface_112_v2", cache=cache), holdout=0.3, augment=Augment())
        for cache in (False, True)
    )
    assert all(equal(plain[i], kept[i]) for _ in range(2) for i in range(10))


def test_workers_deliver_the_same_stream(people: Path) -> None:
    data = swaps(people, augment=Augment())
    loaded = list(DataLoader(data, batch_size=4, sampler=range(8), collate_fn=join_batches, num_workers=2))
    for number, batch in enumerate(loaded):
        assert equal(batch, join_batches([data[4 * number + i] for i in range(4)]))
    assert equal(pickle.loads(pickle.dumps(data))[5], data[5])


def test_validation_pairs_do_not_depend_on_the_targets_of_a_source(people: Path) -> None:
    def validated(targets: int) -> list[SwapBatch]:
        given = {"holdout": 0.3, "val_batches": 2, "workers": 0, "targets_per_identity": targets}
        return list(faces_data(str(people), SIZE, "ffhq", 4, 0, "ffhq", **given).val_dataloader())

    ones, twos = validated(1), validated(2)
    assert len(ones) == len(twos) == 2 and all(map(equal, ones, twos))
    assert all(batch.targets_per_identity == 1 and len(batch.source) == 4 for batch in ones)


def test_files_that_break_during_a_run_are_replaced_counted_and_reported_once(people: Path) -> None:
    clean = {i: swaps(people)[i] for i in range(60)}
    data = swaps(people)
    for person in range(0, 30, 5):
        (people / f"p{person:02d}/0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.new("RGB", (40, 30)).save(people / "p01/1.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = [data[i] for i in range(60)] + [data[i] for i in range(60)]
    assert len(samples) == 120 and data.folder.unreadable
    named = [str(w.message) for w in caught if "left out" in str(w.message)]
    assert len(named) == len(data.folder.unreadable) > 0
    assert all(any(name in text for text in named) for name in data.folder.unreadable)
    assert sum(equal(samples[i], clean[i]) for i in range(60)) > 30  # the others stay as they were
    assert all(equal(samples[i], samples[i + 60]) for i in range(60))


def test_too_many_files_that_break_stop_the_run(people: Path) -> None:
    data = swaps(people)
    for path in people.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"), raises(FileError, path=people):
        data[0]


def test_damaged_files_are_left_out_by_name_before_any_is_used(people: Path) -> None:
    (people / "p00/0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (people / "p00/1.png").unlink()
    (people / "p00/1.png").symlink_to(people / "nowhere.png")
    reshape(people / "p01/1.png")
    (people / "p02/copy.png").write_bytes((people / "p02/1.png").read_bytes())
    (people / "p03/loop").symlink_to(people, target_is_directory=True)
    for name in ("p04/x.xcf", "p05/notes.txt"):
        (people / name).write_bytes(b"x")
    data = faces_data(str(people), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.3, workers=0)
    folder = data.train.folder
    assert len(folder) == 87 and len(folder.identities) == 30
    kinds = {kind: set(names) for kind, names in folder.index.facts.examples.items()}
    assert kinds == {
        "unreadable": {"p00/0.png", "p00/1.png"},
        "not square": {"p01/1.png"},
        "copied": {"p02/copy.png"},
    }
    said = folder.summary(0.3)
    assert "87 pictures of 30 identities" in said and "landmarks known of none" in said
    for part in (
        "p00/0.png",
        "p01/1.png: 40x30",
        "p02/copy.png: copy of p02/1.png",
        "1 .xcf",
        "1 .txt",
        "links that lead back: 1",
    ):
        assert part in said


def test_a_run_says_what_it_takes(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces_data(str(people), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.3, workers=0)
    line = f"{people}: 90 pictures of 30 identities, 10 held out, landmarks known of none; left out: none"
    assert capsys.readouterr().err.splitlines()[0] == line


def test_all_pictures_damaged_is_said_at_once(people: Path) -> None:
    for path in people.rglob("*.png"):
        path.write_bytes(b"")
    with raises(OptionError, "p00/0.png", argument="root", value=people):
        swaps(people)


def test_the_same_picture_is_never_trained_on_and_held_out(flat: Path) -> None:
    for number in range(20):
        (flat / f"copy{number}.png").write_bytes((flat / "00.png").read_bytes())
    (flat / "linked.png").symlink_to(flat / "03.png")
    (flat / "deeper").symlink_to(flat, target_is_directory=True)
    folder = crops(flat, layout="flat")
    assert len(folder) == 30 and len(folder.index.facts.examples["copied"]) == 21
    draw(flat / "07.png", (1, 2, 3)), draw(flat / "07.webp", (1, 2, 4))
    parts = [{folder.names[i] for photos in folder.split(part, 0.3) for i in photos} for part in ("train", "val")]
    assert not parts[0] & parts[1]


def test_pictures_that_differ_in_their_ending_are_two_people_on_one_side(tmp_path: Path) -> None:
    for number in range(40):
        for position, suffix in enumerate((".png", ".bmp")):
            draw(tmp_path / f"{number}{suffix}", (number, position, 5))
    folder = crops(tmp_path)
    assert len(folder.identities) == 80
    held = {folder.names[photos[0]] for photos in folder.split("val", 0.3)}
    assert all((f"{n}.png" in held) == (f"{n}.bmp" in held) for n in range(40))


@pytest.mark.parametrize("names", [["2010", "2017", "2011"], ["2010-05-31", "2011_01"], ["train", "val", "Test"]])
def test_folders_that_are_not_named_like_persons_must_be_explained(tmp_path: Path, names: list[str]) -> None:
    for position, name in enumerate(names):
        for number in range(3):
            draw(tmp_path / name / f"{number}.png", (position, number, 5))
    with raises(OptionError, argument="layout"):
        crops(tmp_path)
    assert len(crops(tmp_path, layout="flat").identities) == 3 * len(names)
    assert len(crops(tmp_path, layout="identities").identities) == len(names)


def test_numbered_persons_are_no_dates(tmp_path: Path) -> None:
    for person in range(2008, 2012):
        draw(tmp_path / f"{person}/0.png", (person - 2000, 1, 5))
    draw(tmp_path / "7/0.png", (99, 1, 5))
    assert len(crops(tmp_path).identities) == 5


@pytest.mark.parametrize("count", [4, 40])
def test_a_small_folder_holds_out_two_people_and_says_so(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for person in range(count):
        draw(tmp_path / f"{person}.png", colour(person, 0))
    data = faces_data(str(tmp_path), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.0005, workers=0)
    assert len(data.val.dataset.people) == 2 and len(data.train.people) == count - 2
    assert "2 held out (the least; holdout=0.0005 is 0)" in capsys.readouterr().err


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    """Six crops that `idn align` left in one folder."""
    root = tmp_path / "aligned"
    points = template_points("arcface_128")
    root.mkdir()
    with ManifestWriter(root, Settings("/photos", "arcface_128", 48, 48, "png", 95)) as manifest:
        for number in range(6):
            path = root / f"{number}.png"
            draw(path, colour(number, number))
            shift = (points + number / 100).tolist()
            record = Record(path.name, "ok", crop=path.name, landmarks=shift, digest=digest(path.read_bytes()))
            manifest.append(record)
    return root


def test_crops_sorted_into_folders_of_persons_keep_their_landmarks(aligned: Path) -> None:
    for number in range(6):
        (aligned / "people" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        name = f"{number}.png" if number % 2 else f"renamed{number}.png"
        (aligned / f"{number}.png").rename(aligned / "people" / str(number % 3) / name)
    for root in (aligned / "people", aligned):
        folder = crops(root, layout="identities", stored_template=None)
        assert folder.stored_template == "arcface_128" and folder.index.facts.known == 6
        for index, name in enumerate(folder.names):
            number = int(name.rpartition("/")[2].removeprefix("renamed")[0])
            wanted = transform_points(
                template_points("arcface_128") + number / 100, between_templates("arcface_128", "ffhq")
            )
            torch.testing.assert_close(folder.landmarks(index), wanted, atol=1e-4, rtol=0)


def test_pairs_tell_the_landmarks_of_their_targets_where_they_are_known(aligned: Path, flat: Path) -> None:
    folder = crops(aligned, stored_template=None)
    folder.index.landmarks[0] = torch.nan
    samples = [FaceSwaps(folder, "train", 0.3)[i] for i in range(20)]
    unknown = [bool(sample.landmarks.isnan().all()) for sample in samples]
    assert any(unknown) and not all(unknown) and join_batches(samples).landmarks.shape == (20, 5, 2)
    for sample, hidden in zip(samples, unknown, strict=True):
        number = who(sample.target[0])
        assert hidden == (number == 0)
        if not hidden:
            torch.testing.assert_close(sample.landmarks[0], folder.landmarks(number).float())
    assert FaceSwaps(folder, "train", 0.3, augment=Augment())[0].landmarks is None
    assert swaps(flat)[0].landmarks is None


def test_a_manifest_above_that_knows_none_of_the_pictures_does_not_count(aligned: Path) -> None:
    for number in range(6, 30):
        draw(aligned / f"others/{number}.png", colour(number, number))
    assert crops(aligned / "others").index.facts.settings is None


def test_names_that_are_no_utf8_are_pictures_like_any_other(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"caf\xe9")
    os.rename(people / "p00", people / odd)
    os.rename(people / "p01/0.png", people / "p01" / f"{odd}.png")
    data = faces_data(str(people), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.3, workers=0)
    assert odd in data.train.folder.identities and len(data.train.folder) == 90


def test_not_square_is_unreadable(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (1, 1, 1)), draw(tmp_path / "x.png", (1, 1, 2))
    folder = crops(tmp_path)
    reshape(tmp_path / "x.png")
    with pytest.warns(UserWarning, match="40x30"), pytest.raises(UnreadablePhoto):
        folder.read(1)


def gradient(size: int) -> torch.Tensor:
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    return torch.stack([x, y, 0.5 + 0.4 * torch.sin(9 * x * y)])


@pytest.mark.parametrize("stored", [64, 256])
def test_crops_come_in_the_wanted_framing(tmp_path: Path, stored: int) -> None:
    pixels = (gradient(stored) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    crop = crops(tmp_path, SIZE, "arcface_112_v2").read(0).float() / 255
    wanted = realign(gradient(512)[None], "ffhq", "arcface_112_v2", SIZE)[0]
    assert (crop - wanted).abs().mean() < 0.01
    assert (crop - realign(gradient(512)[None], "ffhq", "ffhq", SIZE)[0]).abs().mean() > 0.03


def test_manifest_tells_landmarks_and_guards_the_frame(flat: Path) -> None:
    points = template_points("arcface_128") + 0.02
    with ManifestWriter(flat, Settings("/photos", "arcface_128", 48, 48, "png", 95)) as manifest:
        manifest.append(Record("00.png", "ok", crop="00.png", landmarks=points.tolist()))
    with raises(OptionError, "arcface_128", argument="stored_template", value="ffhq"):
        crops(flat)
    folder = crops(flat, stored_template=None)
    assert folder.stored_template == crops(flat, stored_template="arcface_128").stored_template == "arcface_128"
    assert (folder.landmarks(0) - template_points("ffhq")).abs().max() < 0.04
    assert folder.landmarks(1) is None
    assert NAME not in folder.names


def test_without_a_manifest_the_framing_must_be_said(people: Path) -> None:
    with raises(OptionError, "arcface_112_v1", "ffhq", "idn align", argument="stored_template", value=None):
        crops(people, stored_template=None)


def reshape(path: Path) -> None:
    Image.new("RGB", (40, 30)).save(path)


def test_a_folder_of_pictures_that_nobody_cropped_is_refused_at_once(people: Path, flat: Path) -> None:
    for path in people.rglob("*.png"):
        reshape(path)
    with (
        warnings.catch_warnings(),
        raises(OptionError, "40x30", "idn align", argument="root", value=people),
    ):
        warnings.simplefilter("error")
        crops(people, stored_template=None)
    reshape(flat / "00.png")
    assert len(crops(flat)) == 29
    with ManifestWriter(people, Settings("/photos", "ffhq", 48, 48, "png", 95)):
        pass
    with raises(OptionError, argument="root"):
        crops(people)  # beside the manifest of others


def test_unusable_folders_are_refused(tmp_path: Path, people: Path, flat: Path) -> None:
    (tmp_path / "empty").mkdir()
    with raises(OptionError, argument="root", value=tmp_path / "absent"):
        crops(tmp_path / "absent")
    with raises(OptionError, argument="root", value=tmp_path / "empty"):
        crops(tmp_path / "empty")
    with raises(OptionError, argument="layout", value="round"):
        crops(people, layout="round")
    with raises(OptionError, argument="template", value="dlib"):
        crops(people, SIZE, "dlib")
    draw(people / "loose.png", (1, 1, 1))
    with raises(OptionError, argument="layout"):
        crops(people)
    draw(tmp_path / "one/alice/0.png", (1, 1, 1))
    with raises(OptionError, argument="root"):
        FaceSwaps(crops(tmp_path / "one"))
    with raises(OptionError, argument="holdout"):
        FaceSwaps(crops(flat), holdout=0)
    with raises(OptionError, argument="holdout", value=0.9999999) as told:
        FaceSwaps(crops(flat), holdout=0.9999999)
    assert FaceSwaps(crops(flat), holdout=float(str(told.value).rpartition(" ")[2]))
    with raises(OptionError, argument="holdout", value=0.9999999):
        FaceSwaps(crops(flat), "train", holdout=0.9999999)
    with raises(OptionError, argument="same_ratio"):
        FaceSwaps(crops(flat), same_ratio=1.2)
    with raises(OptionError, argument="holdout"):
        FaceSwaps(crops(flat), holdout=1.2)


def test_a_loose_picture_among_people_is_refused_where_folders_are_people(people: Path) -> None:
    draw(people / "loose.png", (1, 1, 1))
    with raises(OptionError, argument="root", value=people):
        crops(people, layout="identities")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("size", 33),
        ("size", None),
        ("batch", 0),
        ("targets_per_identity", 3),
        ("targets_per_identity", 8),
        ("targets_per_identity", 0),
        ("same_photograph", "no"),
        ("pose_difference", -1),
        ("val_batches", 0),
        ("seed", 1.5),
        ("workers", -1),
        ("root", 3),
        ("augment", 3),
        ("regions", "round"),
    ],
)
def test_an_impossible_argument_is_named(people: Path, argument: str, value: object) -> None:
    given = {
        "root": str(people),
        "size": SIZE,
        "template": "ffhq",
        "stored_template": "ffhq",
        "batch": 4,
        "seed": 0,
        "holdout": 0.3,
        "workers": 0,
    }
    with raises(OptionError, argument=argument, value=value):
        faces_data(**(given | {argument: value}))


def test_crops_that_are_too_small_are_told_once(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"{people} holds crops of 48 px, which are enlarged: 64 px aligned to arcface_112_v2 need 86, as idn align "
    given = {
        "template": "arcface_112_v2",
        "stored_template": "ffhq",
        "batch": 4,
        "seed": 0,
        "holdout": 0.3,
        "workers": 0,
    }
    data = faces_data(str(people), 64, **given)
    assert capsys.readouterr().err.splitlines()[1:] == [f"{said}size=86 makes them"]
    copy = pickle.loads(pickle.dumps(data.train))
    assert data.train[0].source.shape == copy[1].source.shape == (1, 3, 64, 64)
    faces_data(str(people), SIZE, **given)
    crops(people, 48).tell_if_small()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_manifest_tells_how_large_the_crops_are(flat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ManifestWriter(flat, Settings("/photos", "ffhq", 256, 48, "png", 95)):
        pass
    crops(flat, 128, "arcface_112_v2").tell_if_small()
    assert capsys.readouterr().err == ""
    crops(flat, 224, "arcface_112_v2").tell_if_small()
    assert capsys.readouterr().err.endswith("need 300, as idn align size=300 makes them\n")


@pytest.mark.parametrize("points", [[[0.4, 0.4]] * 5, [[float("nan")] * 2] * 5])
def test_landmarks_in_one_place_are_as_good_as_none(flat: Path, points: list[list[float]]) -> None:
    with ManifestWriter(flat, Settings("/photos", "ffhq", 48, 48, "png", 95)) as manifest:
        manifest.append(Record("00.png", "ok", crop="00.png", landmarks=points))
    assert crops(flat).landmarks(0) is None
    assert all(swaps(flat, same_ratio=1.0)[index].face.isfinite().all() for index in range(60))


def test_faces_data_keeps_train_and_val_apart(people: Path) -> None:
    data = faces_data(str(people), SIZE, "ffhq", 4, 0, "ffhq", holdout=0.3, val_batches=2, workers=0)
    assert data.photographs
    batches = list(data.val_dataloader())
    assert len(batches) == 2 and batches[0].source.shape == (4, 3, SIZE, SIZE)
    assert not any(batch.same.any() for batch in batches)
    trained = {who(data.train[i].target[0]) for i in range(100)}
    assert trained.isdisjoint({who(image) for batch in batches for image in batch.target})


def test_identity_folder_labels_and_pairs(people: Path, flat: Path) -> None:
    folder = crops(people)
    train, val = IdentityFolder(folder, "train", 0.3), IdentityFolder(folder, "val", 0.3)
    assert train.identities + val.identities == 30 and len(train) + len(val) == 90
    named: dict[int, set[int]] = {}
    for index in range(len(train)):
        image, label = train[index]
        assert image.shape == (3, SIZE, SIZE) and 0 <= label < train.identities
        named.setdefault(label, set()).add(who(image))
    assert all(len(persons) == 1 for persons in named.values()) and len(named) == train.identities
    pairs = val.pairs(40)
    assert pairs == val.pairs(40) and sum(same for _, _, same in pairs) == 20
    for a, b, same in pairs:
        assert a != b and same == (who(val[a][0]) == who(val[b][0]))
    with raises(FileError, path=flat):
        IdentityFolder(crops(flat))


def test_identity_folder_is_deterministic_and_survives_damage(people: Path) -> None:
    folder = crops(people)
    data = IdentityFolder(folder, "train", 0.3, seed=1, augment=Augment())
    assert torch.equal(data[5][0], data[5][0])
    photo = data.items[5][0]
    (people / folder.names[photo].removeprefix("/")).write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        image, label = data[5]
    assert label == data.items[6][1] and image.shape == (3, SIZE, SIZE)


def test_a_row_of_damaged_files_ends_the_search_for_another_one(people: Path) -> None:
    data = IdentityFolder(crops(people), "train", 0.3)
    for path in people.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"), raises(FileError, path=people):
        data[0]


def test_people_with_one_photograph_each_cannot_be_verified(tmp_path: Path) -> None:
    for person in range(12):
        draw(tmp_path / f"p{person:02d}/0.png", colour(person, 0))
    data = IdentityFolder(crops(tmp_path), "val", 0.4)
    with raises(FileError, path=tmp_path):
        data.pairs(4)


def test_the_manifest_is_no_file_that_was_left_out(aligned: Path) -> None:
    said = crops(aligned, stored_template=None).summary(0.3)
    assert said.endswith("landmarks known of all; left out: none")
