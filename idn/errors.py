"""What a user did that cannot work, said in one sentence."""


class UserError(ValueError):
    """Input that the user must change: an option, a path, a file, a size.

    The message is one clear sentence that says what is wrong and what to do. The command line prints it without a
    traceback and exits with status 2. Mistakes of the program itself stay ordinary exceptions.
    """


def extra_advice(extra: str) -> str:
    """What to type for an optional part. The package is on no index, where its name could be anybody's."""
    return f"`pip install '.[{extra}]'` in the checkout"
