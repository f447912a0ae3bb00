"""The command line: `idn <verb> [hydra overrides]`. The only package that knows Hydra."""

from idn.cli.entry import VERBS, explain, guarded, main
from idn.cli.instantiate import assemble, conf_dir

__all__ = ["VERBS", "assemble", "conf_dir", "explain", "guarded", "main"]
