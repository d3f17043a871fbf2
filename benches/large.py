"""W3, one file of 1 GiB over a wire: changed in three ways (d), and replaced by unrelated content (e).

Every variant starts from the same base on a fresh image. What crosses the wire is counted: by rsync itself, and for Fulmar by a
relay that stands where ssh would.
"""

import filecmp
import os
import random
import shutil

import peers
import process

FILE_BYTES = 1 << 30
APPENDED_BYTES = 1 << 20
BLOCKS = 100
BLOCK_BYTES = 4096
TIME_S = 1_780_000_000
INSERTED = b"ten bytes!"
PIECE_BYTES = 16 << 20
VARIANTS = {"append": "d-append", "blocks": "d-blocks", "insert": "d-insert", "unrelated": "e"}


def run(record, contenders, options):
    variants = {variant: measure for variant, measure in VARIANTS.items() if measure[0] in options.only}
    if not variants:
        return
    files = obtain(options.sources / f"W3-{options.scale:g}", options.scale)
    for _ in range(options.runs):
        for variant, measure in variants.items():
            for name, needs, copy in who(contenders, measure):
                if not options.wants(name):
                    continue
                if shutil.which(needs) is None:
                    record.skip(measure, name, "is not installed")
                    continue
                with record.attempt(measure, name):
                    one(record, contenders, files, variant, measure, name, copy)


def who(contenders, measure):
    """Name, program, and how it brings a directory up to date: (source, destination, log) to (Cost, bytes on the wire)."""

    def rsync(*options):
        def copy(source, to, log):
            cost = contenders.rsync_daemon("-aHAX", *options)(source, to, log)
            return cost, peers.rsync_bytes(cost.output)

        return copy

    yield "fulmar", str(contenders.fulmar), lambda source, to, log: over_relay(contenders, source, to, log)
    yield "rsync --no-whole-file", "rsync", rsync("--no-whole-file")
    if measure == "e":
        yield "rsync --whole-file", "rsync", rsync("--whole-file")
    else:
        yield "rsync --inplace", "rsync", rsync("--no-whole-file", "--inplace")
    yield "floor", "cp", lambda source, to, log: plain_copy(source, to, log)


def one(record, contenders, files, variant, measure, name, copy):
    source, log = contenders.ground.path / "large", contenders.ground.log("large")
    source.mkdir()
    try:
        shutil.copy(files["base"], source / "file")
        # rsync compares sizes and whole seconds: the change must not be in the same one.
        os.utime(source / "file", (TIME_S, TIME_S))
        with contenders.ground.image(source.joinpath("file").stat().st_size, 10) as mounted:
            to = mounted / "replica"
            copy(source, to, log)
            shutil.copy(files[variant], source / "file")
            os.sync()
            cost, wire = copy(source, to, log)
            if not filecmp.cmp(source / "file", to / "file", shallow=False):
                raise process.Failed(f"{name}: {variant} has not arrived")
        numbers = {"seconds": cost.seconds, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib}
        if wire is not None:
            numbers |= {"wire_bytes": wire}
        record.add(measure, name, **numbers)
    finally:
        shutil.rmtree(source)


def over_relay(contenders, source, to, log):
    counts = contenders.ground.path / "counts"
    script = rsh(contenders, f"exec '{contenders.bench}' relay '{counts}' '{contenders.fulmar}' \"$@\"")
    command = [contenders.fulmar, "sync", source, f"far:{to}", "--rsh", script, "--state-dir", peers.state_of(to), "--quiet"]
    cost = process.measure(command, log, durable=to.parent)
    return cost, sum(int(line) for line in counts.read_text().split())


def rsh(contenders, start):
    """A program that takes the place of ssh: as there, a shell takes the command apart."""
    script = contenders.ground.path / "rsh"
    beside = script.with_suffix(".new")
    beside.write_text(f'#!/bin/sh\nshift\neval "set -- $*"\nshift\n{start}\n')
    beside.chmod(0o755)
    beside.rename(script)
    return script


def plain_copy(source, to, log):
    """A new file under another name, and a rename: what any program that replaces a file must do."""
    to.mkdir(exist_ok=True)
    script = 'cp "$1" "$2.new" && mv "$2.new" "$2"'
    return process.measure(["sh", "-c", script, "cp", source / "file", to / "file"], log, durable=to.parent), None


def obtain(directory, scale):
    """The base and its variants, by name; made once."""
    names = ["base", *VARIANTS]
    paths = {name: directory / name for name in names}
    complete = directory / "complete"
    if complete.exists():
        return paths
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    choices = random.Random(3)
    size = int(FILE_BYTES * scale) // BLOCK_BYTES * BLOCK_BYTES
    for name in ["base", "unrelated"]:
        with open(paths[name], "wb") as file:
            for start in range(0, size, PIECE_BYTES):
                file.write(choices.randbytes(min(PIECE_BYTES, size - start)))
    for name in ["append", "blocks", "insert"]:
        with open(paths["base"], "rb") as base, open(paths[name], "wb") as file:
            file.write(INSERTED if name == "insert" else b"")
            shutil.copyfileobj(base, file, PIECE_BYTES)
            if name == "append":
                file.write(choices.randbytes(max(BLOCK_BYTES, int(APPENDED_BYTES * scale))))
            for block in choices.sample(range(size // BLOCK_BYTES), max(4, int(BLOCKS * scale)) if name == "blocks" else 0):
                file.seek(block * BLOCK_BYTES)
                file.write(choices.randbytes(BLOCK_BYTES))
    complete.touch()
    return paths
