"""What was measured: samples by measure, contender and unit; medians and ranges of them."""

import statistics
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field

import process


@dataclass
class Record:
    """`samples[measure][contender][unit]` is a list with one number for each run, in the order of first appearance."""

    samples: dict = field(default_factory=dict)
    skipped: list = field(default_factory=list)
    failed: list = field(default_factory=list)

    def add(self, measure, contender, **numbers):
        units = self.samples.setdefault(measure, {}).setdefault(contender, {})
        for unit, number in numbers.items():
            units.setdefault(unit, []).append(number)
        shown = ", ".join(f"{unit} {number:.6g}" for unit, number in numbers.items())
        print(f"{measure:<10} {contender:<22} {shown}", file=sys.stderr, flush=True)

    def skip(self, measure, contender, why):
        line = f"{measure}: {contender} {why}: skipped"
        if line not in self.skipped:
            self.skipped.append(line)
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def attempt(self, measure, contender):
        """What fails inside is noted, and the next one has its turn."""
        try:
            yield
        except (process.Failed, subprocess.SubprocessError, OSError) as error:
            self.failed.append(f"{measure}: {contender}: failed: {error}")
            print(self.failed[-1], file=sys.stderr, flush=True)

    def median(self, measure, contender, unit):
        numbers = self.samples.get(measure, {}).get(contender, {}).get(unit)
        return statistics.median(numbers) if numbers else None
