"""The figures of a comparison as cells of tables: the same for the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from offnormal.comparison import LOWER_IS_BETTER, Comparison, Contender
from offnormal.evaluated.score_table import Kind
from offnormal.metrics.operational import Operation
from offnormal.metrics.video import PER_VIDEO_NORM
from offnormal.report.wording import NONE, counted, hundred, metric, score

_COST_MARGIN = 0.1  # costs nearer than that are no better and no worse: timings drift by as much


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure."""

    text: str
    below: str = ""  # 95 % interval of the difference to the first run
    best: bool = False
    noise: bool = False  # no different from the first run beyond noise


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of every row of the comparison, in their order."""

    title: str
    cells: list[Cell]
    hint: str = ""
    suffix: str = ""  # of the metric's name, where the group's title says it already

    @property
    def name(self) -> str:
        """The title that stands without the group's."""
        return self.title + self.suffix


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that belong together."""

    title: str
    note: str
    columns: list[Column]


UNITS: dict[Kind, tuple[str, str]] = {
    "videos": ("frame", "frames"),
    "images": ("picture", "pictures"),
    "clips": ("clip", "clips"),
}
_PARTS = {"train": "kept, train", "calibration": "kept, calibration", "test": "kept, test", "anomalous": "caught"}
_VARIANT = ("embedder", "backbone", "head", "unfreeze", "views")  # options that tell runs of one detector apart


def groups(comparison: Comparison) -> list[Group]:
    """All tables; those without any figure are left out."""
    own, normed = _split(comparison.metrics)
    one, unit = UNITS[comparison.kind]
    rests = _rests_on(comparison)
    found = [
        Group(
            "Metrics",
            f"on the {counted(rests, one, unit)} that every run scored{_tested(comparison)}; with the "
            "95 % interval of the difference to A",
            [_metric(comparison, name) for name in own],
        ),
        Group(
            "At each run's own threshold",
            "calibrated by each run for itself; at another threshold the same detector would trade one for the other",
            _operation(comparison),
        ),
        Group(
            "Pixel metrics",
            f"from each run's own evaluation, over the {unit} that it scored; not computed again",
            _pixel(comparison.rows),
        ),
        Group("Cost", "of scoring, decoding included; and of what is kept on disk", _cost(comparison)),
        Group(
            "Scores stretched to 0-1 within each video",
            "as many papers do, which looks at a whole video before its first frame is judged; for comparison with "
            "their figures only",
            [_metric(comparison, name) for name in normed],
        ),
    ]
    return [group for group in found if group.columns]


def reading(comparison: Comparison) -> list[str]:
    """How the figures are to be read: what was drawn, what is marked."""
    if not comparison.metrics:
        return [f"{name}: {why}" for name, why in comparison.missing.items()]
    if not comparison.draws:
        return [f"There is only one of what would be drawn ({comparison.unit}), so no interval can be given."]
    lines = [
        f"Intervals: {comparison.draws:,} draws with replacement over {comparison.units} {comparison.unit}, the same "
        f"for every run (seed {comparison.seed}). Where 0 lies inside, the difference to A may be noise (~)."
    ]
    if comparison.unit.startswith("stretches"):
        lines.append("They say nothing of how another video would come out.")
    elif comparison.units < 10:
        lines.append(f"With {comparison.units} {comparison.unit} they are rough, and rather too narrow.")
    lines.append("The best of a column is marked (*) only where it is better than every other run beyond noise.")
    if any(row.run is None for row in comparison.rows):
        lines.append("combined: sum of the runs' -log p-values; it has no calibrated threshold.")
    return lines


def counts(comparison: Comparison, row: Contender) -> str:
    """What a run scored, and what of it is left out here."""
    unit = UNITS[comparison.kind]
    text = f"{counted(row.scored, *unit)} scored, {row.left_out:,} left out"
    return f"{text}, {row.not_scored:,} not scored" if row.not_scored else text


def signed(low: float, high: float) -> str:
    """An interval of a difference.

    >>> signed(-0.0123, 0.4)
    '-0.012 to +0.400'
    """
    return f"{low:+.3f} to {high:+.3f}"


def markdown(comparison: Comparison) -> str:
    """The tables as Markdown, for documentation."""
    lines = [f"# {_plain(comparison.data)}: {len(comparison.rows)} compared", ""]
    lines += _rows(["", "run", "detector", "what it scored"], "lll" + "l")
    for row in comparison.rows:
        told = detector(row, comparison.options)
        lines.append(_row([row.letter, row.name, told, counts(comparison, row)]))
    for group in groups(comparison):
        lines += ["", f"**{group.title}**, {group.note}", ""]
        lines += _rows(["run", *(column.name for column in group.columns)], "l" + "r" * len(group.columns))
        for place, row in enumerate(comparison.rows):
            lines.append(
                _row([f"{row.letter} {row.name}", *(_marked(column.cells[place]) for column in group.columns)])
            )
    if comparison.options:
        letters = [row.letter for row in comparison.rows if row.run is not None]
        lines += ["", "**Options that differ**", "", *_rows(["option", *letters], "l" * (len(letters) + 1))]
        for name, values in comparison.options.items():
            lines.append(_row([name, *(values.get(letter, NONE) for letter in letters)]))
    return "\n".join([*lines, "", *(f"{line}  " for line in reading(comparison))]) + "\n"


def detector(row: Contender, differing: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Name of the detector, or a dash; and what of its networks tells it from the other runs.

    differing: the comparison's options that differ.
    """
    name = (row.run.detector if row.run is not None else None) or NONE
    told = [option for option in _VARIANT if row.run is not None and option in (differing or {})]
    words = [_variant(option, row.run.options) for option in told if row.run is not None]
    return ", ".join([name, *filter(None, words)])


def _variant(option: str, options: Mapping[str, str]) -> str | None:
    value = options.get(option)
    if value is None:
        return "frozen" if option == "unfreeze" and "embedder" in options else None
    return {"unfreeze": f"{value} unfrozen", "views": f"{value} views"}.get(option, value)


def _split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    return [n for n in names if not n.endswith(PER_VIDEO_NORM)], [n for n in names if n.endswith(PER_VIDEO_NORM)]


def _metric(comparison: Comparison, name: str) -> Column:
    cells = []
    for row in comparison.rows:
        difference = row.differences.get(name)
        below, noise = "", False
        if difference is not None and difference.low is not None and difference.high is not None:
            below, noise = signed(difference.low, difference.high), bool(difference.noise)
        cells.append(Cell(metric(row.metrics.get(name)), below, comparison.best.get(name) == row.letter, noise))
    title = name.removesuffix(PER_VIDEO_NORM)
    return Column(title, cells, "lower is better" if name in LOWER_IS_BETTER else "", name.removeprefix(title))


def _operation(comparison: Comparison) -> list[Column]:
    rows = comparison.rows
    if all(row.operation is None and row.confusion is None for row in rows):
        return []
    rates = [row.run.rate if row.run is not None and row.threshold is not None else None for row in rows]
    first = [
        _texts("promised", [rate or NONE for rate in rates], "false-alarm rate"),
        _texts("threshold", [score(row.threshold) for row in rows], "raw score"),
    ]
    if comparison.kind == "clips":
        return first + _accuracies(rows)
    if comparison.kind == "images":
        decided = [row.confusion for row in rows]
        alarms = [None if one is None else one.false_alarms_per_100_good.per_100 for one in decided]
        escapes = [None if one is None else one.escapes_per_100_bad.per_100 for one in decided]
        titles = (("false alarms per 100 good", alarms), ("escapes per 100 bad", escapes))
        return first + [_texts(title, [hundred(value) for value in own]) for title, own in titles]
    found = [row.operation for row in rows]

    def column(title: str, say: Callable[[Operation], str], hint: str = "") -> Column:
        return _texts(title, [NONE if one is None else say(one) for one in found], hint)

    more = [column("alarms per hour", lambda one: _decimal(one.alarms_per_hour))]
    if any(one is not None and one.normal_s for one in found):
        more = [
            column("false alarms per hour", lambda one: _decimal(one.false_alarms_per_hour)),
            column("normal time in alarm", lambda one: _per_cent(one.normal_time_in_alarm)),
        ]
    if any(one is not None and one.spans for one in found):
        more += [
            column("spans caught", lambda one: f"{one.caught} of {one.caught + one.missed}"),
            column("median delay", lambda one: _seconds(one.median_delay_s)),
        ]
    return first + more


def _accuracies(rows: Sequence[Contender]) -> list[Column]:
    """Per cent of each part that is judged rightly, with the numbers below."""
    found = []
    for part, title in _PARTS.items():
        own = [next((one.right for one in row.accuracy if one.part == part), None) for row in rows]
        if any(one is not None for one in own):
            cells = [
                Cell(NONE) if one is None else Cell(f"{hundred(one.per_100)} %", f"{one.count:,} of {one.of:,}")
                for one in own
            ]
            found.append(Column(title, cells))
    return found


def _rests_on(comparison: Comparison) -> int:
    common = comparison.common
    return common.count if comparison.kind != "clips" else int(common.labelled.sum())


def _tested(comparison: Comparison) -> str:
    return " and none has learnt from" if comparison.kind == "clips" else ""


def _pixel(rows: Sequence[Contender]) -> list[Column]:
    names = [name for name in ("pixel_AUROC", "pixel_AUPRO", "pixel_F1") if any(name in row.pixel for row in rows)]
    return [_texts(name, [metric(row.pixel.get(name)) for row in rows], "own evaluation") for name in names]


def _cost(comparison: Comparison) -> list[Column]:
    unit = UNITS[comparison.kind][0]
    seconds = [row.seconds_per_frame for row in comparison.rows]
    sizes = [None if row.bundle_bytes is None else row.bundle_bytes / 1e6 for row in comparison.rows]
    kinds = ((f"ms per {unit}", [None if one is None else 1e3 * one for one in seconds]), ("bundle, MB", sizes))
    return [
        Column(title, [Cell(_three_digits(value), best=_least(own, value)) for value in own])
        for title, own in kinds
        if any(value is not None for value in own)
    ]


def _least(values: Sequence[float | None], value: float | None) -> bool:
    """Whether a cost is below every other, beyond how timings drift; unknown ones leave it open."""
    if value is None or None in values:
        return False
    return sum(other is not None and other <= value * (1 + _COST_MARGIN) for other in values) == 1


def _texts(title: str, texts: Sequence[str], hint: str = "") -> Column:
    return Column(title, [Cell(text) for text in texts], hint)


def _decimal(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _three_digits(value: float | None) -> str:
    return NONE if value is None else f"{value:#.3g}".rstrip(".")


def _per_cent(value: float | None) -> str:
    return NONE if value is None else f"{hundred(100 * value)} %"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} s"


def _marked(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text}{' ~' if cell.noise else ''} ({cell.below})" if cell.below else text


def _rows(titles: Sequence[str], sides: str) -> list[str]:
    return [_row(titles), "|" + "|".join("---:" if side == "r" else "---" for side in sides) + "|"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
