"""Published checkpoints -> files of this project."""

from pathlib import Path

from idn.encoders.arcface import ArcFaceNet, arcface_tensors
from idn.errors import UserError
from idn.files.tensors import load_strict, read_tensors, write_tensors
from idn.students.mobilefaceswap.published import import_student


def import_published(path_in: str | Path, path_out: str | Path) -> str:
    """Read a published Paddle or PyTorch checkpoint, check every tensor, and write one safetensors file.

    Knows MobileFaceSwap's injection network (`MobileFaceSwap_224.pdparams` -> a student) and ArcFace IR-SE-101
    (`arcface.pdparams`, `arcface_checkpoint.tar` -> weights for `encoder=arcface`), told apart by their keys. Returns
    a sentence on what was written. Raises UserError for anything else, and for an output that is no .safetensors.
    """
    path_in, path_out = Path(path_in), Path(path_out)
    if path_out.suffix != ".safetensors":
        raise UserError(f"out={path_out} must end in .safetensors: that is the format that is written")
    keys = read_tensors(path_in).keys()
    if any(key.startswith("predictor.") for key in keys):
        import_student(path_in, path_out)
        return f"student {path_out}: the injection network, head and fusion module of {path_in.name}"
    if any(key.endswith("layer1.0.bn0.weight") for key in keys):
        tensors = arcface_tensors(read_tensors(path_in))
        load_strict(ArcFaceNet(), tensors, str(path_in))
        write_tensors(path_out, tensors, {"imported_from": path_in.name})
        return f"identity encoder {path_out}: use it with encoder=arcface encoder.weights={path_out}"
    raise UserError(
        f"{path_in} is neither MobileFaceSwap's injection network nor ArcFace IR-SE-101: its first keys are "
        f"{', '.join(list(keys)[:3])}"
    )
