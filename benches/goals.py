"""What is to be reached: a number of Fulmar's against a limit, or against the same number of somebody beside it."""

from dataclasses import dataclass

# The better of the two ways to run it, in each run of the table.
RSYNC = ["rsync -aHAX", "rsync -aHAX daemon"]


@dataclass
class Goal:
    """`unit` of `who` at most `limit`, or `limit` times that of the best of `against`."""

    measure: str
    unit: str
    limit: float
    against: list | None = None
    who: str = "fulmar"

    def judge(self, record):
        """The number that counts (a ratio, or the value itself) and whether it is reached; None where something was skipped."""
        own = record.median(self.measure, self.who, self.unit)
        if own is None:
            return None
        if self.against is None:
            return own, own <= self.limit
        others = [record.median(self.measure, other, self.unit) for other in self.against]
        others = [other for other in others if other]
        if not others:
            return None
        return own / min(others), own / min(others) <= self.limit

    def text(self):
        if self.against is None:
            return f"{self.unit} of {self.who} <= {self.limit:g}"
        return f"{self.unit} of {self.who} <= {self.limit:g} x {' or '.join(self.against)}"


GOALS = [
    Goal("a", "seconds", 0.55, RSYNC),
    Goal("a", "seconds", 0.95, ["cp -a"]),
    Goal("b", "seconds", 0.6, RSYNC),
    Goal("b", "seconds", 0.9, ["cp -a"]),
    Goal("c", "seconds", 0.25, RSYNC),
    Goal("c", "seconds", 2, ["floor"]),
    *[Goal(f"d-{variant}", "seconds", 0.6, ["rsync --no-whole-file"]) for variant in ["append", "blocks", "insert"]],
    *[Goal(f"d-{variant}", "wire_bytes", 1, ["rsync --no-whole-file"]) for variant in ["append", "blocks", "insert"]],
    Goal("e", "seconds", 1.1, ["rsync --whole-file"]),
    Goal("f", "p50_ms", 3),
    Goal("f", "p99_ms", 15),
    Goal("g-500", "p99_ms", 100),
    Goal("g-2000", "p99_ms", 250),
    Goal("g-5000", "p99_ms", 1000),
    *[Goal(f"g-{rate}", "drain_s", 0.5) for rate in [500, 2000, 5000]],
    *[Goal(f"g-{rate}", "missed", 0) for rate in [500, 2000, 5000]],
    *[Goal(f"g-{rate}", "cpu_s", 0.25, ["lsyncd, delay 0"]) for rate in [500, 2000]],
    Goal("h", "p99_ms", 100),
    Goal("i", "primary_cpu_s", 2, ["fulmar, 1 piped"], who="fulmar, 8 piped"),
    Goal("i", "primary_cpu_s", 2, ["fulmar, 1 local"], who="fulmar, 8 local"),
    Goal("j", "caught_up_s", 0.8),
    Goal("k-first", "seconds", 0.85, RSYNC),
    Goal("k-noop", "seconds", 0.25, RSYNC),
    Goal("k-restart", "caught_up_s", 0.25, ["lsyncd"]),
    Goal("k-first", "peak_mib", 100),
    Goal("k-noop", "peak_mib", 100),
    Goal("k-restart", "peak_mib", 100),
    Goal("k-first", "store_bytes_per_file", 200),
    Goal("l-warm", "seconds", 0.5, ["rsync -aHAX"]),
    Goal("l-warm", "seconds", 1.3, ["floor"]),
    Goal("l-cold", "seconds", 1.3, ["floor"]),
    *[Goal(f"m-{tree}", "seconds", 1.5, ["floor"]) for tree in ["mail", "tiny"]],
]
