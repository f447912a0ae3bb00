"""From the file of a published swapper to verified tensors: checksum, safe reading, recognition, strict loading."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from idn.errors import DamagedFile, ForeignFile, MissingFile, OptionError
from idn.files.digests import file_sha256
from idn.files.remote import local
from idn.files.tensors import load_strict, read_tensors
from teachers.record import TeacherRecord

SIGNS: dict[str, tuple[str, ...]] = {
    "SimSwap 512 (Gdeep)": ("BottleNeck.0.style1.linear.weight", "down4.0.weight"),
    "SimSwap 512 beta": ("BottleNeck.0.style1.linear.weight", "down0.0.weight"),
    "SimSwap 224": ("BottleNeck.0.style1.linear.weight",),
    "HifiFace (maum-ai)": ("generator.sff_module.",),
    "Deep3DFaceRecon": ("backbone.layer1.0.conv3.weight", "final_layers.0.weight"),
    "FaceShifter (maum-ai)": ("G.model.layer_0.add1.",),
    "GHOST": ("generator.AADBlk1.",),
    "inswapper": ("styles.0.conv1.",),
    "a projected or patch discriminator": ("discriminator.",),
    "ArcFace IR-SE-101": ("layer1.0.se.fc.0.weight",),
    "an insightface iResNet": ("layer1.0.bn3.weight", "features.weight"),
    "a MobileFaceNet": ("conv2_dw.",),
    "the published MobileFaceSwap": ("predictor.first.",),
    "a student of this project": ("injection.prediction.",),
    "BiSeNet face parsing": ("cp.resnet.conv1.weight",),
}
"""Family -> beginnings of keys that a file of it must have, all of them; the first family that fits is meant."""


def verify_file(path: Path, record: TeacherRecord) -> None:
    """Raise UserError unless `path` is a file with the size and checksum that the record declares."""
    if not path.is_file():
        raise MissingFile(path, "does not exist: give the path of the downloaded file")
    size = path.stat().st_size
    if record.file_bytes not in (None, size):
        raise DamagedFile(path, f"has {size} bytes, {record.file_bytes} are expected: download it again")
    if record.sha256 is not None and (found := file_sha256(path)) != record.sha256:
        raise ForeignFile(path, f"has sha256 {found}, {record.sha256} is expected: it is another file", found)


def recognise(keys: Iterable[str]) -> str | None:
    """The family of networks that a file with these keys holds, None if it is none that is known here."""
    keys = list(keys)
    for family, signs in SIGNS.items():
        if all(any(key.startswith(sign) for key in keys) for sign in signs):
            return family
    return None


def read_network(path: str | Path | None, record: TeacherRecord, family: str) -> dict[str, Tensor]:
    """The tensors in a teacher's file, on the CPU, after its size and checksum were found to be as declared.

    path: also a URL.
    family: the entry of SIGNS that is expected.
    Raises UserError if no path is given, if the file is missing, altered or unreadable, and if it holds a network of
    another family, which is named.
    """
    if path is None:
        raise OptionError("weights", None, f"must be a file of {record.name}: `idn teachers` says what it is called")
    path = local(path)
    verify_file(path, record)
    tensors = read_tensors(path)
    found = recognise(tensors)
    if found not in (None, family):
        raise ForeignFile(path, f"holds {found}, not {family}: choose the file or the teacher that fits", found)
    return tensors


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, family: str) -> None:
    """Load strictly. Raises UserError that names the first missing, extra and mis-shaped keys; see `load_strict`."""
    load_strict(network, dict(tensors), f"{family} file {path}")
