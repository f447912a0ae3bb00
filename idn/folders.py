"""Folders that a command will write into."""

from pathlib import Path

from idn.errors import UserError


def make_writable(option: str, folder: Path) -> None:
    """Make `folder` and try it. Raises UserError, which calls it by the name of its option, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{option}={folder} cannot be written ({error.strerror}): give another folder") from error
