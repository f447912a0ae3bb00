"""The entry point of `idn`: which verb. Imports what a verb needs when there is one, so that help comes at once."""

import difflib
import sys

import idn
from idn.cli.output import drop_output
from idn.cli.termination import terminable
from idn.cli.verbs.table import VERBS
from idn.errors import UserError

HELP = ("-h", "--help")

SEVERAL = ("-m", "--multirun")


def usage() -> str:
    """What `idn --help` prints."""
    lines = [f"  {name:<19}{verb.line}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            f"idn {idn.__version__}: trains face swappers that run on a phone.",
            "",
            "usage: idn <verb> [option=value ...]          options are Hydra overrides",
            "       idn <verb> [option=value ...] --help   what it is for, its options and their values",
            "       idn <verb> -m option=a,b ...           one run per combination",
            "",
            "verbs:",
            *lines,
            "",
            "start with: idn train",
        ]
    )


def main() -> None:
    """Entry point of `idn` and `python -m idn`."""
    if hasattr(sys.stdout, "reconfigure"):  # file names that are no UTF-8 can be printed
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with terminable():
            _obey(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        print(f"idn: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # a verb that can go on later has said so
        sys.exit(130)
    except BrokenPipeError:  # whoever read what we print, such as `head`, has had enough
        drop_output()


def _obey(words: list[str]) -> None:
    """Do what was typed after `idn`. Raises UserError for what makes no sense."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print(usage())
        return
    if words[0] in ("-V", "--version"):
        print(f"idn {idn.__version__}")
        return
    verb = words[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(VERBS)}"
        raise UserError(f"there is no verb {verb!r}: {hint}")
    _obey_verb(verb, words[1:])


def _obey_verb(verb: str, words: list[str]) -> None:
    """The same for what was typed after a verb."""

    from idn.cli.help import help_text
    from idn.cli.instantiate import register_resolvers
    from idn.cli.launch import launch
    from idn.cli.new_folder import claimed
    from idn.cli.options.composition import forget
    from idn.cli.options.flags import SHOWING, check_dashes, separated
    from idn.cli.options.near_misses import check
    from idn.cli.options.overrides import combinations, overrides, searched
    from idn.cli.options.preflight import check_needs
    from idn.cli.sweeps.begin import begun

    forget()
    register_resolvers()
    check_dashes(verb, words)
    flags, words = separated(words)
    words = _with_name(VERBS[verb].bare, words)
    showing = any(flag.partition("=")[0] in SHOWING for flag in flags)
    if any(word.startswith("sweep=") for word in words) and not {*flags} & {*SEVERAL, *HELP} and not showing:
        flags.append("-m")  # a search space asks for several runs
    several = any(flag in SEVERAL for flag in flags)
    options = overrides(words, several)
    if any(flag in HELP for flag in flags):
        print(help_text(verb, options))
        return
    asked = searched(verb, options) if several else options
    runs = combinations(verb, asked) if several else [options]
    for run in runs:
        check(verb, run)
    folder = []
    if not showing:
        for run in runs:
            check_needs(verb, run, several)
        folder = claimed(verb, runs[0], several)
    sweep = begun(verb, asked, [*runs[0], *folder]) if several and not showing else None
    launch(verb, flags, options, folder, sweep)


def _with_name(option: str | None, words: list[str]) -> list[str]:
    """The words, those that are no options gathered in a list as the value of `option`, if a verb has such a one."""
    bare = [word for word in words if "=" not in word and not word.startswith("~")]
    if option is None or not bare:
        return words
    quoted = ",".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in bare)
    return [f"{option}=[{quoted}]", *(word for word in words if word not in bare)]
