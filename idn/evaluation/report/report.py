"""Report of an evaluation: metrics.json, the table of pairs, the page, the table on the terminal."""

from pathlib import Path
from typing import Any

from idn.evaluation.report.page import write_page
from idn.evaluation.report.summary import read_judged, summarise, write_summary
from idn.evaluation.report.table import print_summary, write_pairs


def write_report(folder: Path) -> dict[str, Any]:
    """Put together what an evaluation judged, print the table and say where everything is. Returns the summary.

    Raises UserError for a folder without a finished evaluation.
    """
    judged = read_judged(folder)
    summary = summarise(judged)
    numbers, pairs, page = write_summary(folder, summary), write_pairs(judged), write_page(judged, summary)
    print_summary(summary)
    print(f"report     {page}\nnumbers    {numbers}\npairs      {pairs}")
    return summary
