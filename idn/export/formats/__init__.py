"""Registry of export formats: one module per format, of its name, in this package."""

import pkgutil
from importlib import import_module

from idn.errors import OptionError
from idn.export.contract import Format

FORMATS = sorted(module.name for module in pkgutil.iter_modules(__path__))
"""Their names."""


def format_kind(name: str) -> type[Format]:
    """The class of a format, for what is said of it without its packages. Raises OptionError for another name."""
    if name not in FORMATS:
        raise OptionError("format", name, f"is unknown: choose of {', '.join(FORMATS)}")
    made = vars(import_module(f"{__name__}.{name}")).values()
    return next(kind for kind in made if isinstance(kind, type) and getattr(kind, "name", None) == name)


def format_named(name: str) -> Format:
    """The format with its default options.

    Raises OptionError for another name, UserError if its packages are missing.
    """
    return format_kind(name)()
