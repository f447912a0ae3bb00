"""Verb about sweeps: `idn sweep-report`."""

from pathlib import Path

from omegaconf import DictConfig

from idn.cli.verbs.runs import only_folder


def sweep_report(cfg: DictConfig) -> None:
    """Write the ranking of a sweep as a page and as a table, and print it; of an unfinished one, what is known."""
    from idn.sweeps.outcomes import read_outcomes
    from idn.sweeps.report.page import PAGE, TABLE, write_page
    from idn.sweeps.table import print_sweep, write_csv

    folder = only_folder(cfg)
    outcomes = read_outcomes(folder)
    out = folder if cfg.out is None else Path(str(cfg.out))
    write_csv(outcomes, out / TABLE)
    write_page(outcomes, folder, out / PAGE)
    print_sweep(outcomes)
    print(f"page   {out / PAGE}\ntable  {out / TABLE}")
