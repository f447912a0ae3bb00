"""The command line: `idn <verb> [hydra overrides]`. The only package that knows Hydra."""

from idn.cli.config_tree import conf_dir
from idn.cli.entry import main
from idn.cli.verbs.table import VERBS

__all__ = ["VERBS", "conf_dir", "main"]
