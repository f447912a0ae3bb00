"""Output folders: make one and try it, remove one that nothing was written into."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from idn.errors import OptionError


def make_writable(argument: str, folder: Path) -> None:
    """Make `folder`, which is the value of `argument`, and try it. Raises OptionError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        wanted = f"cannot be written ({error.strerror}): give another folder"
        raise OptionError(argument, folder, wanted) from error


def remove_unused(folder: Path, expendable: Sequence[str] = ()) -> None:
    """Remove `folder` if all files in it match one of the patterns `expendable`, such as "config/*".

    Never the folder in which the program was started, nor one around it.
    """
    here = Path.cwd()
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    if (
        folder.is_dir()
        and folder.resolve() not in (here, *here.parents)
        and all(any(file.match(pattern) for pattern in expendable) for file in files)
    ):
        shutil.rmtree(folder, ignore_errors=True)
