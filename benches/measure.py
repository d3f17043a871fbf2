#!/usr/bin/env python3
"""First light: three numbers that tell whether Fulmar is fast enough to be used, beside what others would do.

    latency     one file at a time, from its rename on the source until it is seen on a local replica
    burst       many renames into place, until `fulmar wait` returns
    first-sync  a tree of small files onto a fresh ext4 image, with the memory it took

Everything happens in one temporary directory, which is removed, with its mounts, however this ends. Nothing is compared
with a wanted value: numbers depend on the machine, whose load is printed for that reason.
"""

import argparse
import ctypes
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["latency", "burst", "first-sync"]
PUBLISH_PAUSE_S = 0.030
PUBLISH_BYTES = 1024
ARRIVAL_MAX_S = 60
START_MAX_S = 60
BURST_MAX_S = 600
FIRST_SYNC_MAX_S = 600
IMAGE_BYTES = 8 << 30
FILE_BYTES_MAX = 4096
MEMORY_TICK_S = 0.02
IN_MOVED_TO = 0x80


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    fulmar = options.binary or build()
    print(f"{os.cpu_count()} CPUs, Linux {os.uname().release}, load {os.getloadavg()[0]:.2f}, work in {options.dir}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fulmar-bench-", dir=options.dir) as name:
        here = Path(name)
        if "latency" in options.parts:
            latency(here, fulmar, options.latency_files)
        if "burst" in options.parts:
            burst(here, fulmar, options.burst_files)
        if "first-sync" in options.parts:
            first_sync(here, fulmar, options.tree_files, options.tree_directories)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--binary", type=Path, help="measure this program instead of building one")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where to work; a real disk with 6 GB free (default: %(default)s)")
    parser.add_argument("--latency-files", type=int, default=200)
    parser.add_argument("--burst-files", type=int, default=20_000)
    parser.add_argument("--tree-files", type=int, default=200_000)
    parser.add_argument("--tree-directories", type=int, default=2_000)
    options = parser.parse_args()
    options.parts = options.parts or PARTS
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def build():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/fulmar"


# Latency


def latency(here, fulmar, files):
    with scene(here, "latency") as (source, replica, state):
        with following(fulmar, source, replica, state, here):
            report_latency("fulmar follow", measure_arrivals(source, replica, files))
    if shutil.which("lsyncd") is None:
        print("latency     lsyncd is not installed: skipped", flush=True)
        return
    with scene(here, "lsyncd") as (source, replica, _):
        command = ["lsyncd", "-nodaemon", "-delay", "0", "-rsync", source, replica]
        (source / "ready").touch()
        with running(command, here / "lsyncd.log") as process:
            # It copies everything before it reports anything.
            until(START_MAX_S, "lsyncd has copied", lambda: (replica / "ready").exists(), process)
            report_latency("lsyncd -delay 0", measure_arrivals(source, replica, files))


def measure_arrivals(source, replica, files):
    """Seconds from the rename on the source to the one on the replica, file by file, each published into calm."""
    content = os.urandom(PUBLISH_BYTES)
    arrivals = Arrivals(replica)
    seconds = []
    for number in range(files):
        time.sleep(PUBLISH_PAUSE_S)
        name = f"file{number}"
        beside = source / f".{name}.tmp"
        beside.write_bytes(content)
        published = time.monotonic()
        beside.rename(source / name)
        seconds.append(arrivals.wait_for(name) - published)
    return seconds


class Arrivals:
    """Renames into a directory, by inotify: both contenders put a file in place by renaming it."""

    def __init__(self, directory):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0 or self.libc.inotify_add_watch(self.fd, os.fsencode(directory), IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(directory))

    def wait_for(self, wanted):
        deadline = time.monotonic() + ARRIVAL_MAX_S
        while True:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                sys.exit(f"{wanted} has not arrived within {ARRIVAL_MAX_S} s")
            events = os.read(self.fd, 1 << 16)
            seen = time.monotonic()
            while events:
                length = struct.unpack_from("iIII", events)[3]
                if os.fsdecode(events[16 : 16 + length].rstrip(b"\0")) == wanted:
                    return seen
                events = events[16 + length :]


def report_latency(who, seconds):
    ms = sorted(second * 1000 for second in seconds)
    at = lambda percent: ms[-(-len(ms) * percent // 100) - 1]
    print(f"latency     {who:<18} {len(ms)} files: p50 {at(50):.1f} ms, p99 {at(99):.1f} ms, max {ms[-1]:.1f} ms", flush=True)


# Burst


def burst(here, fulmar, files):
    with scene(here, "burst") as (source, replica, state):
        (source / "tmp").mkdir()
        (source / "new").mkdir()
        with following(fulmar, source, replica, state, here):
            started = time.monotonic()
            for number in range(files):
                beside = source / "tmp" / str(number)
                beside.write_bytes(b"x" * (number % 1000))
                beside.rename(source / "new" / str(number))
            written = time.monotonic()
            wait(fulmar, source, state, BURST_MAX_S).check_returncode()
            durable = time.monotonic()
            arrived = len(os.listdir(replica / "new"))
        if arrived != files:
            sys.exit(f"{arrived} of {files} have arrived")
        print(
            f"burst       {files} renames into place: written in {written - started:.2f} s, durable on the replica "
            f"{durable - written:.2f} s later ({files / (durable - started):.0f} files/s over all)",
            flush=True,
        )


# First sync


def first_sync(here, fulmar, files, directories):
    if os.geteuid() != 0:
        print("first-sync  only root can mount an image: skipped", flush=True)
        return
    source = here / "tree"
    total = grow(source, files, directories)
    print(f"first-sync  {files} files of 0 to {FILE_BYTES_MAX} bytes in {directories} directories, {total / 1e6:.0f} MB, cached; each onto a fresh ext4", flush=True)
    contenders = {
        "fulmar sync": lambda to: [fulmar, "sync", source, to / "replica", "--state-dir", here / "state-first", "--quiet"],
        "rsync -aHAX": lambda to: ["rsync", "-aHAX", f"{source}/", f"{to}/replica/"],
        "cp -a": lambda to: ["cp", "-a", source, to / "replica"],
    }
    for who, command in contenders.items():
        if shutil.which(str(command(here)[0])) is None:
            print(f"first-sync  {who} is not installed: skipped", flush=True)
            continue
        # What others left to be written is not this one's cost.
        os.sync()
        with fresh_image(here) as mounted:
            started = time.monotonic()
            code, peak_kib = run_measured(command(mounted), here / "first-sync.log")
            ended = time.monotonic()
            subprocess.run(["sync", "-f", mounted], check=True)
            durable = time.monotonic()
            arrived = count(mounted / "replica")
        if code != 0 or arrived != (files, total):
            sys.exit(f"{who}: exit code {code}, (files, bytes) {arrived}\n{(here / 'first-sync.log').read_text()[-2000:]}")
        print(f"first-sync  {who:<12} {ended - started:6.1f} s, on disk after {durable - started:6.1f} s, peak memory {peak_kib / 1024:.0f} MiB", flush=True)


def grow(root, files, directories):
    """A tree that is the same in every run; returns its bytes."""
    choices = random.Random(1)
    content = choices.randbytes(FILE_BYTES_MAX)
    total = 0
    for number in range(directories):
        (root / f"{number // 50}" / f"{number}").mkdir(parents=True)
    for number in range(files):
        directory = number % directories
        length = choices.randint(0, FILE_BYTES_MAX)
        # The number first: no two of them are equal.
        (root / f"{directory // 50}" / f"{directory}" / f"file{number}").write_bytes((b"%08d" % number + content)[:length])
        total += length
    return total


def count(root):
    files, total = 0, 0
    for directory, below, names in os.walk(root):
        if ".fulmar" in below:
            below.remove(".fulmar")
        files += len(names)
        total += sum(os.lstat(os.path.join(directory, name)).st_size for name in names)
    return files, total


def run_measured(command, log):
    """Exit code, and the sum of the largest resident sets (VmHWM) of the process and its descendants, in KiB."""
    peaks = {}
    with running(command, log) as process:
        ended = threading.Event()

        def watch():
            while not ended.is_set():
                for pid in descendants(process.pid):
                    peaks[pid] = max(peaks.get(pid, 0), high_water_kib(pid))
                ended.wait(MEMORY_TICK_S)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            code = process.wait(FIRST_SYNC_MAX_S)
        finally:
            ended.set()
            watcher.join()
    return code, sum(peaks.values())


def descendants(pid):
    found = [pid]
    for parent in found:
        try:
            found += [int(child) for task in os.listdir(f"/proc/{parent}/task") for child in Path(f"/proc/{parent}/task/{task}/children").read_text().split()]
        except OSError:
            pass  # It has ended.
    return found


def high_water_kib(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


@contextmanager
def fresh_image(here):
    image, mounted = here / "image", here / "mounted"
    mounted.mkdir()
    try:
        with open(image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        # Without the lazy options the kernel would go on formatting while we measure.
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
        subprocess.run(["mount", "-o", "loop,noatime", image, mounted], check=True)
        try:
            yield mounted
        finally:
            if subprocess.run(["umount", mounted]).returncode != 0:
                subprocess.run(["umount", "--lazy", mounted])
    finally:
        image.unlink(missing_ok=True)
        mounted.rmdir()


# Common ground


@contextmanager
def scene(here, name):
    """An empty source, an empty replica and a place for state, gone afterwards."""
    paths = [here / name / part for part in ("source", "replica", "state")]
    for path in paths:
        path.mkdir(parents=True)
    try:
        yield paths
    finally:
        shutil.rmtree(here / name)


@contextmanager
def following(fulmar, source, replica, state, here):
    command = [fulmar, "follow", source, replica, "--durability", "batch", "--state-dir", state, "--quiet"]
    with running(command, here / "follow.log") as process:
        until(START_MAX_S, "follow is live", lambda: wait(fulmar, source, state, START_MAX_S).returncode == 0, process)
        yield process


def wait(fulmar, source, state, seconds_max):
    return subprocess.run([fulmar, "wait", source, "--timeout", f"{seconds_max}s", "--state-dir", state], capture_output=True)


@contextmanager
def running(command, log):
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(seconds_max, what, condition, process):
    deadline = time.monotonic() + seconds_max
    while not condition():
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} has ended with {process.returncode} before: {what}")
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds_max} s: {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
