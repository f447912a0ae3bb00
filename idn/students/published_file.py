"""Published files as student files: what all imports have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path

from idn.errors import OptionError
from idn.files.digests import file_sha256
from idn.students.protocol import SwapStudent
from idn.students.student_file import save_student


def import_published(
    published: str | Path, out: str | Path, read: Callable[[Path], SwapStudent], lineage: Mapping[str, str]
) -> None:
    """Write a published file as the student file `out`, with its name and digest.

    read: makes the student of it.
    lineage: what else is known of the file.
    Raises OptionError, before anything is read, unless `out` ends in .safetensors, UserError as `read` does.
    """
    published, out = Path(published), Path(out)
    if out.suffix != ".safetensors":
        raise OptionError("out", out, "must end in .safetensors: that is the format that is written")
    student = read(published)
    save_student(student, out, {"origin": published.name, "origin_sha256": file_sha256(published), **lineage})
