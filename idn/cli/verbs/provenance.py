"""Verb that reads what files say of where they come from: `idn provenance`."""

import json
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_bool, require_int


def provenance(cfg: DictConfig) -> None:
    """Say of each file what was found. Exit status 1 if one is not called synthetic, 2 if one cannot be read."""
    from idn.provenance.inspection import inspect_file

    require_int("frames", cfg.frames, 1)
    for name in ("resized", "json"):
        require_bool(name, cfg[name])
    files = list(cfg.files) if OmegaConf.is_list(cfg.files) else [cfg.files]
    if not files:
        raise OptionError("files", "[]", "names no file: give pictures or videos")
    reports, failed = [], 0
    for file in files:
        try:
            report = inspect_file(Path(str(file)), cfg.frames, cfg.resized)
        except UserError as error:  # the other files are looked at all the same
            print(f"idn: {error}", file=sys.stderr)
            failed += 1
            continue
        reports.append(report)
        if not cfg.json:
            print("\n".join(report.lines()))
    if cfg.json:
        print(json.dumps([report.record() for report in reports], indent=1))
    if failed or not all(report.synthetic for report in reports):
        sys.exit(2 if failed else 1)
