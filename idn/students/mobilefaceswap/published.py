"""The published MobileFaceSwap weights (github.com/Seanseattle/MobileFaceSwap), as a student.

`MobileFaceSwap_224.pdparams` holds the injection network with head and fusion module, for ArcFace identities: 512-d
embeddings and 512x7x7 feature maps.
"""

import re
from pathlib import Path

from torch import Tensor

from idn.errors import UnfitTensors
from idn.files.tensors import load_strict, read_tensors, strip_prefix
from idn.students.mobilefaceswap.student import Student
from idn.students.published_file import import_published
from idn.types import EncoderDescription

ENCODER_PAIRS = 5
RENAMED = (
    (r"^predictor\.first\.", "injection.prediction.stem."),
    (r"^predictor\.first_decoder\.", "injection.prediction.decoder_stem."),
    (r"^predictor\.(encoder|decoder)\.(\d+)\.weight\.", r"injection.prediction.\1.\2.readout."),
    (r"^predictor\.", "injection.prediction."),
    (r"^EncoderModulation\.(\d+)\.", r"injection.modulation.\1."),
    (r"^DecoderModulation\.(\d+)\.", lambda m: f"injection.modulation.{int(m[1]) + ENCODER_PAIRS}."),
    (r"^(injection\.modulation\.\d+)\.style\.", r"\1.gain."),
    (r"^final\.1\.", "idn.head.reduce."),
    (r"^final\.2\.", "idn.head.norm1."),
    (r"^final\.4\.", "idn.head.conv1."),
    (r"^final\.5\.", "idn.head.norm2."),
    (r"^final\.7\.", "idn.head.conv2."),
    (r"^mask\.5\.", "idn.fusion.last."),
    (r"^mask\.(\d+)\.1\.", r"idn.fusion.stages.\1.depthwise."),
    (r"^mask\.(\d+)\.2\.", r"idn.fusion.stages.\1.pointwise."),
    (r"^mask\.(\d+)\.3\.", r"idn.fusion.stages.\1.norm."),
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
)
"""Published name -> ours, applied in turn. Both orders of the encoder chain agree: deepest pair first."""


LINEAGE = {
    "teacher": "SimSwap",
    "teacher_licence": "CC-BY-NC-4.0",
    "teacher_commercial_use": "forbidden",
    "encoder": "ArcFace IR-SE-101 (foamliu)",
    "template": "arcface_112_v2",
    "size": "224",
}
"""Where the published student comes from, the licence of its teacher being a question to whoever uses it; and the
framing of its crops."""


def import_mobilefaceswap(path: str | Path) -> Student:
    """Read a published .pdparams file as a student in training mode, like any new module.

    Raises UserError if the file cannot be read or does not hold exactly the published network.
    """
    student = Student(EncoderDescription(512, 512, 7, LINEAGE["encoder"]))
    published = strip_prefix(read_tensors(path), ("predictor.first.weight",))
    tensors = dict(_converted(name, tensor) for name, tensor in published.items())
    try:
        load_strict(student, tensors, str(path))
    except UnfitTensors as error:
        sentence = f"{error}; give MobileFaceSwap_224.pdparams of the published MobileFaceSwap"
        raise UnfitTensors(sentence, error.missing, error.extra, error.misshaped) from None
    return student


def import_student(published: str | Path, out: str | Path) -> None:
    """Write the published file as the student file `out`, with its origin, lineage and licences.

    Raises OptionError unless `out` ends in .safetensors, UserError as `import_mobilefaceswap`.
    """
    import_published(published, out, import_mobilefaceswap, LINEAGE)


def _converted(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Our name and layout of a published tensor: linear weights are stored transposed, pointwise kernels with 1x1."""
    if name.endswith(".style.weight") and tensor.ndim == 2:
        tensor = tensor.mT
    elif re.fullmatch(r"\w+Modulation\.\d+\.weight", name) and tensor.ndim == 4:
        tensor = tensor.flatten(1)
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name, tensor
