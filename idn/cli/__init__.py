"""The command line: `idn <verb> [hydra overrides]`. The only package that knows Hydra."""

from idn.cli.building import assemble, conf_dir
from idn.cli.entry import VERBS, explain, guarded, main

__all__ = ["VERBS", "assemble", "conf_dir", "explain", "guarded", "main"]
