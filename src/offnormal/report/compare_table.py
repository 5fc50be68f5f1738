"""The tables of a comparison, for the terminal, Markdown, and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from offnormal.drawing.wording import NONE, hundred, metric, percent, score
from offnormal.errors import counted
from offnormal.evaluation.alarms import COVERS_NORMAL_FOOTAGE, AlarmReport
from offnormal.evaluation.compare import ComparedRun, Comparison
from offnormal.evaluation.units import LOWER_IS_BETTER, PIXEL_METRICS, TRAITS
from offnormal.metrics.video import PER_VIDEO_NORM
from offnormal.report.block import Cell

_COST_MARGIN = 0.1  # costs that differ by less count as equal, because timings vary


@dataclass(frozen=True, slots=True)
class Column:
    """One figure for every run, in order."""

    title: str
    cells: list[Cell]  # with the 95 % interval of the difference from the first run below
    hint: str = ""
    suffix: str = ""  # of the metric's name, if the title of the group implies it

    @property
    def name(self) -> str:
        """The full name, outside of the group."""
        return self.title + self.suffix


@dataclass(frozen=True, slots=True)
class Group:
    """A group of related figures."""

    title: str
    note: str
    columns: list[Column]


_SPLITS = {
    "train": "passed, training",
    "calibration": "passed, calibration",
    "test": "passed, test",
    "anomalous": "detected",
}
_VARIANT = ("embedder", "backbone", "head", "unfreeze", "views")  # options that distinguish runs of one detector


def groups(comparison: Comparison) -> list[Group]:
    """All tables with at least one figure."""
    plain = [name for name in comparison.metrics if not name.endswith(PER_VIDEO_NORM)]
    normed = [name for name in comparison.metrics if name.endswith(PER_VIDEO_NORM)]
    singular, plural = TRAITS[comparison.unit].noun
    tested = int(comparison.rows[0].table.labeled.sum()) or comparison.common
    tables = [
        Group(
            "Metrics",
            f"on the {counted(tested, singular, plural)} of the test set that every run scored; below: 95 % CI of the "
            "difference from A",
            [_metric(comparison, name) for name in plain],
        ),
        Group(
            "At each run's own threshold",
            "as calibrated by each run; another threshold trades detections for false alarms",
            _decisions(comparison.rows),
        ),
        Group(
            "Pixel metrics",
            f"from the evaluation of each run, on the {plural} that it scored; not computed again",
            [
                _texts(name, [metric(row.pixel.get(name)) for row in comparison.rows], "from its evaluation")
                for name in PIXEL_METRICS
                if any(name in row.pixel for row in comparison.rows)
            ],
        ),
        Group("Cost", "time per score including decoding, and size on disk", _cost(comparison.rows, singular)),
        Group(
            "Scores scaled to 0-1 within each video",
            "as in many papers, which needs the whole video before the first verdict; only to compare with papers",
            [_metric(comparison, name) for name in normed],
        ),
    ]
    return [group for group in tables if group.columns]


def explanations(comparison: Comparison) -> list[str]:
    """Explanations of the intervals and marks."""
    if not comparison.metrics:
        return [f"{name}: {why}" for name, why in comparison.missing.items()]
    drawn = comparison.drawn
    if not comparison.draws:
        return [f"No intervals: they need at least two {drawn.noun}, but there is only one."]
    lines = [
        f"Intervals: bootstrap with {comparison.draws:,} draws over {drawn.count} {drawn.noun}, the same for every run "
        f"(seed {comparison.seed}). If 0 is inside, the difference from A may be noise (~)."
    ]
    if drawn.noun.startswith("stretches"):
        lines.append("They do not predict the result on another video.")
    elif drawn.count < 10:
        lines.append(f"With only {drawn.count} {drawn.noun}, they are rough and tend to be too narrow.")
    lines.append("The best value of a column is marked (*) if its lead over every other run is larger than noise.")
    covering = [row.letter for row in comparison.rows if row.alarms is not None and row.alarms.covers_normal_footage]
    lines += [f"{', '.join(covering)}: {COVERS_NORMAL_FOOTAGE}"] if covering else []
    if any(row.run is None for row in comparison.rows):
        lines.append("combined: sum of -log p-values of the runs, without a calibrated threshold.")
    return lines


def counts(comparison: Comparison, row: ComparedRun) -> str:
    """The number of units that a run scored, and of those that are excluded."""
    text = f"{counted(row.scored, *TRAITS[comparison.unit].noun)} scored, {row.excluded:,} excluded"
    return f"{text}, {row.not_scored:,} not scored" if row.not_scored else text


def signed(low: float, high: float) -> str:
    """The interval of a difference as text.

    >>> signed(-0.0123, 0.4)
    '-0.012 to +0.400'
    """
    return f"{low:+.3f} to {high:+.3f}"


def markdown(comparison: Comparison) -> str:
    """The tables as Markdown, for documentation."""
    lines = [f"# {_plain(comparison.data)}: {len(comparison.rows)} compared", ""]
    lines += _rows(["", "run", "detector", "scored"], "llll")
    for row in comparison.rows:
        lines.append(_row([row.letter, row.name, detector(row, comparison.options), counts(comparison, row)]))
    for group in groups(comparison):
        lines += ["", f"**{group.title}**, {group.note}", ""]
        lines += _rows(["run", *(column.name for column in group.columns)], "l" + "r" * len(group.columns))
        for index, row in enumerate(comparison.rows):
            lines.append(
                _row([f"{row.letter} {row.name}", *(_markdown_cell(column.cells[index]) for column in group.columns)])
            )
    if comparison.options:
        letters = [row.letter for row in comparison.rows if row.run is not None]
        lines += ["", "**Different options**", "", *_rows(["option", *letters], "l" * (len(letters) + 1))]
        for name, values in comparison.options.items():
            lines.append(_row([name, *(values.get(letter, NONE) for letter in letters)]))
    return "\n".join([*lines, "", *(f"{line}  " for line in explanations(comparison))]) + "\n"


def detector(row: ComparedRun, differing: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Name of the detector, or a dash, with options that distinguish it from the other runs.

    differing: the options that differ between runs.
    """
    name = (row.run.detector if row.run is not None else None) or NONE
    options = [option for option in _VARIANT if row.run is not None and option in (differing or {})]
    words = [_variant(option, row.run.options) for option in options if row.run is not None]
    return ", ".join([name, *filter(None, words)])


def _variant(option: str, options: Mapping[str, str]) -> str | None:
    value = options.get(option)
    if value is None:
        return "frozen" if option == "unfreeze" and "embedder" in options else None
    return {"unfreeze": f"{value} unfrozen", "views": f"{value} views"}.get(option, value)


def _metric(comparison: Comparison, name: str) -> Column:
    cells = []
    for row in comparison.rows:
        difference = row.differences.get(name)
        below, mark = "", ""
        if difference is not None and difference.low is not None and difference.high is not None:
            below, mark = signed(difference.low, difference.high), "~" * bool(difference.noise)
        cells.append(_cell(metric(row.metrics.get(name)), below, mark, is_best=comparison.best.get(name) == row.letter))
    title = name.removesuffix(PER_VIDEO_NORM)
    return Column(title, cells, "lower is better" if name in LOWER_IS_BETTER else "", name.removeprefix(title))


def _decisions(rows: Sequence[ComparedRun]) -> list[Column]:
    """Results at each run's threshold: alarms for videos, else accuracies by split, else missed and false alarms."""
    if all(row.alarms is None and row.confusion is None for row in rows):
        return []
    rates = [row.run.rate if row.run is not None and row.threshold is not None else None for row in rows]
    columns = [
        _texts("expected at most", [rate or NONE for rate in rates], "false-alarm rate"),
        _texts("threshold", [score(row.threshold) for row in rows], "raw score"),
    ]
    if any(row.alarms is not None for row in rows):
        return columns + _alarms([row.alarms for row in rows])
    if any(row.splits for row in rows):
        return columns + _accuracies(rows)
    decided = [row.confusion for row in rows]
    false = [None if confusion is None else confusion.false_alarms_per_100_normal.per_100 for confusion in decided]
    missed = [None if confusion is None else confusion.missed_per_100_anomalous.per_100 for confusion in decided]
    titles = (("false alarms per 100 normal", false), ("missed per 100 anomalous", missed))
    return columns + [_texts(title, [hundred(value) for value in values]) for title, values in titles]


def _alarms(reports: Sequence[AlarmReport | None]) -> list[Column]:
    def column(title: str, text: Callable[[AlarmReport], str]) -> Column:
        return _texts(title, [NONE if report is None else text(report) for report in reports])

    columns = [column("alarms per hour", lambda report: _decimal(report.alarms_per_hour))]
    if any(report is not None and report.normal_s for report in reports):
        columns = [
            column("false alarms per hour", lambda report: _decimal(report.false_alarms_per_hour)),
            column("normal time in alarm", lambda report: percent(report.normal_time_in_alarm)),
        ]
    if any(report is not None and report.spans for report in reports):
        columns += [
            column("spans detected", lambda report: f"{report.detected} of {report.detected + report.missed}"),
            column("median delay", lambda report: _seconds(report.median_delay_s)),
        ]
    return columns


def _accuracies(rows: Sequence[ComparedRun]) -> list[Column]:
    """Percent of correct verdicts in each split, with the numbers below."""
    columns = []
    for split, title in _SPLITS.items():
        shares = [next((each.correct for each in row.splits if each.split == split), None) for row in rows]
        if any(share is not None for share in shares):
            cells = [
                _cell(NONE)
                if share is None
                else _cell(f"{hundred(share.per_100)} %", f"{share.count:,} of {share.total:,}")
                for share in shares
            ]
            columns.append(Column(title, cells))
    return columns


def _cost(rows: Sequence[ComparedRun], singular: str) -> list[Column]:
    times = [None if row.seconds_per_unit is None else 1e3 * row.seconds_per_unit for row in rows]
    sizes = [None if row.bundle_bytes is None else row.bundle_bytes / 1e6 for row in rows]
    return [
        Column(title, [_cell(_three_digits(value), is_best=_is_cheapest(values, value)) for value in values])
        for title, values in ((f"ms per {singular}", times), ("bundle, MB", sizes))
        if any(value is not None for value in values)
    ]


def _is_cheapest(values: Sequence[float | None], value: float | None) -> bool:
    """Whether a cost is clearly the lowest; False if one is unknown."""
    if value is None or None in values:
        return False
    return sum(cost is not None and cost <= value * (1 + _COST_MARGIN) for cost in values) == 1


def _texts(title: str, texts: Sequence[str], hint: str = "") -> Column:
    return Column(title, [_cell(text) for text in texts], hint)


def _cell(text: str, below: str = "", mark: str = "", *, is_best: bool = False) -> Cell:
    """A figure with its mark: * for the best, ~ if the difference from the first run may be noise."""
    return Cell(text=text, below=below, mark="*" if is_best else mark, is_best=is_best)


def _decimal(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _three_digits(value: float | None) -> str:
    if value is None or value >= 100:
        return NONE if value is None else f"{value:,.0f}"
    return f"{value:#.3g}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} s"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.is_best else cell.text
    return f"{text}{' ~' if cell.mark == '~' else ''} ({cell.below})" if cell.below else text


def _rows(titles: Sequence[str], sides: str) -> list[str]:
    return [_row(titles), "|" + "|".join("---:" if side == "r" else "---" for side in sides) + "|"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
