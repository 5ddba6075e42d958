"""From measurements to a table: medians, ratios, and the targets met or missed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from tests.bench.targets import TARGETS, Medians, Target

TARGET_HEADINGS = ("target", "measured", "verdict")
HEADINGS = ("work", "unit", "upstream", "Blick", "upstream / Blick", "beside it")
BESIDE = {"floor": "hash floor", "nginx": "nginx"}
UNKNOWN = "–"


@dataclass(slots=True)
class Results:
    """Every figure of every round, by metric, subject and figure."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, metric: str, subject: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.values.setdefault((metric, subject, figure), []).append(value)

    def medians(self) -> Medians:
        return {key: median(values) for key, values in self.values.items()}


class Measured(Protocol):
    """What the table has to know of a metric."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def subjects(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> dict[str, str]: ...


def rows(metrics: Sequence[Measured], medians: Medians) -> list[tuple[str, ...]]:
    """One row per figure, as texts under HEADINGS."""
    table = []
    for metric in metrics:
        for figure, unit in metric.units.items():
            found = {subject: medians.get((metric.name, subject, figure)) for subject in metric.subjects}
            if any(value is not None for value in found.values()):
                table.append((metric.label, unit, *_cells(found)))
    return table


def target_rows(medians: Medians, targets: Sequence[Target] = TARGETS) -> list[tuple[str, ...]]:
    """Each target that could be judged: its text, what was measured, and the verdict."""
    judged = [(target, target.judge(medians)) for target in targets]
    return [
        (target.text, verdict.found, "met" if verdict.met else "MISSED")
        for target, verdict in judged
        if verdict is not None
    ]


def plain(headings: tuple[str, ...], table: Sequence[tuple[str, ...]]) -> str:
    """A table for a terminal: numbers to the right."""
    lines = [headings, *table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join("  ".join(_padded(line, widths)).rstrip() for line in lines)


def markdown(headings: tuple[str, ...], table: Sequence[tuple[str, ...]]) -> str:
    rules = ["---" if column < 2 else "---:" for column in range(len(headings))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rules, *table))


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _cells(found: dict[str, float | None]) -> tuple[str, ...]:
    upstream, blick = found.get("upstream"), found.get("blick")
    ratio = f"{number(upstream / blick)} ×" if upstream and blick else UNKNOWN
    beside = [f"{name} {number(found[key] or 0)}" for key, name in BESIDE.items() if found.get(key) is not None]
    return (_number_or_dash(upstream), _number_or_dash(blick), ratio, ", ".join(beside))


def _number_or_dash(value: float | None) -> str:
    return UNKNOWN if value is None else number(value)


def _padded(line: tuple[str, ...], widths: list[int]) -> list[str]:
    pairs = zip(line, widths, strict=True)
    return [
        text.ljust(width) if column < 2 or column == 5 else text.rjust(width)
        for column, (text, width) in enumerate(pairs)
    ]
