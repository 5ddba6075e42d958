"""Measuring a metric: the subjects take turns, round after round, and every figure is told and kept."""

import subprocess
import sys

from tests.bench import report
from tests.bench.http11 import UnexpectedAnswer
from tests.bench.metrics import Bench, Metric
from tests.bench.report import Results

FAILURES = (OSError, RuntimeError, UnexpectedAnswer, subprocess.CalledProcessError)


def measure(bench: Bench, metric: Metric, rounds: int, results: Results) -> None:
    """Add what was measured to `results`, or why it failed: one metric's failure does not end a run."""
    subjects = [subject for subject in metric.subjects if subject == "floor" or subject in bench.servers]
    try:
        with metric.setup(bench) as state:
            for number in range(rounds):
                for subject in subjects:
                    figures = metric.measure(bench, subject, state)
                    results.add(metric.name, subject, figures)
                    shown = ", ".join(f"{key} {report.number(value)}" for key, value in figures.items())
                    say(f"{metric.name} {number + 1}/{rounds} {subject}: {shown}")
    except FAILURES as failure:
        results.failures[metric.name] = f"{type(failure).__name__}: {failure}"
        say(f"{metric.name} failed: {results.failures[metric.name]}")


def say(text: str) -> None:
    """How far the run is; the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)
