"""Errors that users can mend, one sentence each: UserError, and OptionError for the value of one argument."""


class UserError(ValueError):
    """Input that the user must change: an option, a path, a file, a size.

    The message is one clear sentence that says what is wrong and what to do. The command line prints it without a
    traceback and exits with status 2. Mistakes of the program itself stay ordinary exceptions.
    """


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


def shown(value: object) -> str:
    """A value as an option has it on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def extra_advice(extra: str) -> str:
    """What to type for an optional part. The package is on no index, where its name could be anybody's."""
    return f"`pip install '.[{extra}]'` in the checkout"
