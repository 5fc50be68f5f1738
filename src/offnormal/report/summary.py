"""Several categories at a glance: one row each with a link to its own report, and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from offnormal.evaluation import HEADLINE, Evaluation, mean_row
from offnormal.report import headline
from offnormal.report.page import environment, printable


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One category of the table."""

    name: str
    href: str  # relative, quoted
    evaluation: Evaluation
    note: str  # what its promise says, where it was not kept


def render_summary(evaluations: Sequence[tuple[str, Evaluation, str]]) -> str:
    """The table of categories as HTML, from (name, evaluation, path of its report relative to this page).

    Means are over the categories that have the metric; where some have not, their number is given.
    """
    rows = [
        SummaryRow(name, quote(href, safe="/"), evaluation, _note(evaluation)) for name, evaluation, href in evaluations
    ]
    found = [row.evaluation for row in rows]
    page = environment().get_template("summary.html.j2")
    return printable(
        page.render(
            rows=rows,
            columns=[name for name in HEADLINE if any(name in one.metrics for one in found)],
            means=mean_row([one.metrics for one in found]),
            having={name: sum(name in one.metrics for one in found) for name in HEADLINE},
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


def _note(evaluation: Evaluation) -> str:
    found = headline.promise(evaluation)
    if found is None:
        return "not calibrated"
    return "more false alarms than promised" if found.kept is False else ""
