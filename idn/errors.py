"""Errors that users can mend, one sentence each: UserError, OptionError for an argument, FileError for a file."""

import copyreg
from collections.abc import Mapping, Sequence
from pathlib import Path


class UserError(ValueError):
    """Input that the user must change: an option, a path, a file, a size.

    The message is one clear sentence that says what is wrong and what to do. The command line prints it without a
    traceback and exits with status 2. Mistakes of the program itself stay ordinary exceptions.
    """

    def __reduce__(self) -> tuple[object, ...]:
        """For loader processes, which send it through a pipe: with its fields, whatever its constructor takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__


class OptionError(UserError):
    """The value of an argument that a constructor or a function cannot work with.

    argument: its name, with dots for a part of it, such as "rates.prediction".
    value: what was given; None is shown as null, as the command line spells it.
    wanted: the rest of the sentence, such as "must be at least 1"; what to do belongs in it.
    owner: the object or class that the argument belongs to, where the error is not raised by its constructor.
    The sentence is `argument=value wanted`. A constructor knows its own arguments only: the command line, which knows
    where in the config the constructor stands, names the option instead by `renamed`.
    """

    def __init__(self, argument: str, value: object, wanted: str, owner: object = None) -> None:
        super().__init__(f"{argument}={shown(value)} {wanted}")
        self.argument, self.value, self.wanted, self.owner = argument, value, wanted, owner

    def renamed(self, argument: str) -> "OptionError":
        """The same error for an argument of another name, such as the option that it came from."""
        return OptionError(argument, self.value, self.wanted, self.owner)

    def owned(self, owner: object) -> "OptionError":
        """The same error for an argument of an object that was built earlier, such as one that was handed in."""
        return OptionError(self.argument, self.value, self.wanted, owner)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """For loader processes, which send it through a pipe; without its owner."""
        return OptionError, (self.argument, self.value, self.wanted)


class FileError(UserError):
    """A file or a folder that cannot be used; what is in it does not go together with the rest of the input.

    path: which.
    said: the rest of the sentence, such as "holds no pictures: choose another folder"; what to do belongs in it.
    """

    def __init__(self, path: str | Path, said: str) -> None:
        super().__init__(f"{path} {said}")
        self.path, self.said = Path(path), said


class MissingFile(FileError):
    """A file or a folder that is not there."""


class DamagedFile(FileError):
    """A file that is cut short or altered, or whose kind nothing can read."""


class ForeignFile(FileError):
    """A whole file of something else than what is wanted: another network, kind, version or origin.

    found: what it holds, where that is known.
    """

    def __init__(self, path: str | Path, said: str, found: str | None = None) -> None:
        super().__init__(path, said)
        self.found = found


class UnfitTensors(UserError):
    """Tensors of a file that are not those of the network they are for.

    missing, extra, misshaped: the names of those that differ.
    """

    def __init__(
        self, sentence: str, missing: Sequence[str] = (), extra: Sequence[str] = (), misshaped: Sequence[str] = ()
    ) -> None:
        super().__init__(sentence)
        self.missing, self.extra, self.misshaped = list(missing), list(extra), list(misshaped)


class EncoderMismatch(UserError):
    """Something was made with another identity encoder than the one that is here.

    wanted, given: the names of the two; the same where their weights or their sizes differ.
    """

    def __init__(self, sentence: str, wanted: str, given: str) -> None:
        super().__init__(sentence)
        self.wanted, self.given = wanted, given


class MissingExtra(UserError):
    """A package of an optional part of the installation is not there.

    start: the sentence up to what to type, such as "ONNX files need".
    extra: the name of that part.
    """

    def __init__(self, start: str, extra: str) -> None:
        super().__init__(f"{start} {extra_advice(extra)}")
        self.extra = extra


def shown(value: object) -> str:
    """A value as an option has it on the command line."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{shown(each)}' for name, each in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"[{','.join(map(shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def extra_advice(extra: str) -> str:
    """What to type for an optional part. The package is on no index, where its name could be anybody's."""
    return f"`pip install '.[{extra}]'` in the checkout"


class TornStep(KeyboardInterrupt):
    """Ctrl-C for the second time, in the middle of a step: what that leaves behind is no state to go on from."""


class Hopeless(Exception):
    """A run of a sweep that was ended early because others were better at the same step. Nothing is wrong with it."""
