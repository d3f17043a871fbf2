"""The table: one line for each measure and contender, then the goals. As text, markdown or JSON."""

import json
import os
import platform
import statistics
import time

from goals import GOALS

MEASURES = {
    "a": "first sync, W1",
    "b": "first sync, W2",
    "c": "nothing changed, W1",
    "d-append": "large file, 1 MiB appended",
    "d-blocks": "large file, 100 blocks of 4 KiB changed",
    "d-insert": "large file, 10 bytes inserted at the front",
    "e": "large file, replaced",
    "f": "one mail at a time",
    "g-500": "500 mails a second",
    "g-2000": "2 000 mails a second",
    "g-5000": "5 000 mails a second",
    "h": "200 mails a second behind a large file",
    "i": "500 mails a second to 1 and 8 replicas",
    "j": "restart of follow, W1",
    "k-first": "first sync, W4",
    "k-noop": "nothing changed, W4",
    "k-restart": "restart of follow, W4",
    "l-warm": "audit from memory, W1",
    "l-cold": "audit from the disk, W1",
    "m-mail": "quick verification, W1",
    "m-tiny": "quick verification, W4",
}
UNITS = {
    "seconds": "s",
    "live_s": "s until live",
    "caught_up_s": "s until caught up",
    "p50_ms": "ms p50",
    "p99_ms": "ms p99",
    "max_ms": "ms max",
    "drain_s": "s to drain",
    "durable_s": "s more until durable",
    "large_s": "s for the large file",
    "missed": "missed",
    "late_ms": "ms the load was late",
    "primary_cpu_s": "CPU s of the primary",
    "cpu_s": "CPU s",
    "peak_mib": "MiB",
    "wire_bytes": "bytes on the wire",
    "store_bytes_per_file": "bytes of store a file",
}


def machine(options):
    """What the numbers depend on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    kernel = platform.release().partition("-")[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {kernel}, "
        f"load {os.getloadavg()[0]:.1f}, scale {options.scale:g}, {options.runs} run{'s' if options.runs > 1 else ''}"
    )


def rows(record):
    """(measure, contender, what it took), in the order of MEASURES."""
    for measure in MEASURES:
        for contender, units in record.samples.get(measure, {}).items():
            yield measure, contender, ", ".join(f"{spread(numbers)} {UNITS[unit]}" for unit, numbers in units.items())


def verdicts(record):
    """(measure, goal, value, whether it is reached)."""
    for goal in GOALS:
        judged = goal.judge(record)
        if judged is not None:
            yield goal.measure, goal.text(), f"{judged[0]:.3g}", "reached" if judged[1] else "missed"


def spread(numbers):
    """The median, and the range where there is more than one."""
    middle = short(statistics.median(numbers))
    return middle if len(numbers) == 1 else f"{middle} ({short(min(numbers))}-{short(max(numbers))})"


def short(number):
    if number >= 10_000:
        return f"{number:,.0f}".replace(",", " ")
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"


def text(record, options):
    lines = [machine(options)]
    last = None
    for measure, contender, took in rows(record):
        if measure != last:
            lines += ["", f"{measure}: {MEASURES[measure]}"]
            last = measure
        lines.append(f"  {contender:<22} {took}")
    lines += ["", "goals"]
    lines += [f"  {measure:<10} {goal:<62} {value:>8}  {verdict}" for measure, goal, value, verdict in verdicts(record)]
    return "\n".join(lines + [""] + record.skipped + record.failed).rstrip()


def markdown(record, options):
    lines = [machine(options), "", "| | measure | who | median (range) |", "|---|---|---|---|"]
    last = None
    for measure, contender, took in rows(record):
        first = measure != last
        # A bar would end the cell.
        contender = contender.replace("|", "\\|")
        lines.append(f"| {measure if first else ''} | {MEASURES[measure] if first else ''} | {contender} | {took} |")
        last = measure
    lines += ["", "| | to reach | is | |", "|---|---|---|---|"]
    lines += [f"| {measure} | {goal} | {value} | {verdict} |" for measure, goal, value, verdict in verdicts(record)]
    return "\n".join(lines + [""] + [f"- {line}" for line in record.skipped + record.failed]).rstrip()


def as_json(record, options):
    keys = ["measure", "goal", "value", "verdict"]
    found = {
        "machine": machine(options),
        "scale": options.scale,
        "samples": record.samples,
        "goals": [dict(zip(keys, verdict)) for verdict in verdicts(record)],
        "skipped": record.skipped,
        "failed": record.failed,
    }
    return json.dumps(found, indent=1)
