"""Measures of following: latency when nothing else happens (f), under load (g), behind a large file (h), to eight replicas (i).

Source and destination are fresh images of their own. The load and the eye on the destination are one program (`bench deliver`),
whose own CPU seconds count for nobody.
"""

import os
import random
import shutil
import time
from contextlib import contextmanager

import followers
import large
import process

MAILBOXES = 100
LOAD_S = 30
LOAD_S_MIN = 3
FLAGGED_PERCENT = 30
RATES = [500, 2000, 5000]
CALM_MAILS = 200
CALM_MAILS_MIN = 20
# At a second each.
CALM_MAILS_SLOW = 20
MAIL_BYTES = 8192
LARGE_BYTES = 3_000_000_000
SMALL_RATE = 200
# Somebody who is behind by more than this has lost.
DRAIN_MAX_S = 120
REPLICAS = 8
FANOUT_RATE = 500
REPLICA_THREADS = ["fulmar-compare", "fulmar-chunks", "fulmar-stage", "fulmar-commit"]


def run(record, contenders, options):
    measures = {"f": calm, "g": load, "h": behind_large, "i": fan_out}
    for _ in range(options.runs):
        for measure, function in measures.items():
            if measure in options.only:
                function(record, contenders, options)


@contextmanager
def scene(contenders, mails, copies=1, more_bytes=0):
    """Empty mailboxes, the place beside them for what is not replicated yet, and a destination."""
    size, entries = mails * MAIL_BYTES + more_bytes, MAILBOXES * 4 + mails
    with contenders.ground.image(size, entries) as here, contenders.ground.image(size * copies, entries * copies) as there:
        source = here / "source"
        for number in range(MAILBOXES):
            for part in ["cur", "new", "tmp"]:
                (source / f"user{number:03}" / part).mkdir(parents=True)
        os.sync()
        yield source, there / "replica"


@contextmanager
def fulmar(contenders, source, replica):
    with followers.fulmar(contenders, source, [replica], source.parent / "state", "--durability", "batch") as follower:
        yield follower


def lsyncd(delay):
    return lambda contenders, source, replica: followers.lsyncd(contenders, source, replica, delay)


def followers_wanted(record, options, measure, candidates):
    for name, follow in candidates.items():
        if not options.wants(name):
            continue
        if name.startswith("lsyncd") and shutil.which("lsyncd") is None:
            record.skip(measure, name, "is not installed")
            continue
        yield name, follow


def calm(record, contenders, options):
    """One mail at a time, each published into calm."""
    candidates = {"fulmar": fulmar, "lsyncd, delay 0": lsyncd(0), "lsyncd, delay 1": lsyncd(1), "floor": followers.mirror}
    for name, follow in followers_wanted(record, options, "f", candidates):
        mails = max(CALM_MAILS_MIN, int(CALM_MAILS * options.scale))
        mails = CALM_MAILS_SLOW if name.endswith("delay 1") else mails
        with record.attempt("f", name):
            with scene(contenders, mails) as (source, replica), follow(contenders, source, replica):
                seen = followers.deliver(contenders, source, replica, "--calm", mails)
            record.add("f", name, p50_ms=seen["p50_ms"], p99_ms=seen["p99_ms"], max_ms=seen["max_ms"])


def load(record, contenders, options):
    """Deliveries and flags at three rates."""
    seconds = max(LOAD_S_MIN, LOAD_S * options.scale)
    candidates = {"fulmar": fulmar, "lsyncd, delay 0": lsyncd(0), "floor": followers.mirror}
    for rate in RATES:
        for name, follow in followers_wanted(record, options, f"g-{rate}", candidates):
            with record.attempt(f"g-{rate}", name):
                at_rate(record, contenders, name, follow, rate, seconds)


def at_rate(record, contenders, name, follow, rate, seconds):
    with scene(contenders, int(rate * seconds)) as (source, replica), follow(contenders, source, replica) as follower:
        before = process.tree_cpu_seconds(follower.pid)
        words = ["--rate", rate, "--seconds", seconds, "--flagged", FLAGGED_PERCENT, "--drain", DRAIN_MAX_S]
        seen = followers.deliver(contenders, source, replica, *words)
        numbers = {"cpu_s": process.tree_cpu_seconds(follower.pid) - before}
        if name == "fulmar":
            began = time.monotonic()
            followers.await_durable(contenders.ground.path / "control.sock")
            numbers |= {"durable_s": time.monotonic() - began, "peak_mib": process.high_water_kib(follower.pid) / 1024}
    record.add(f"g-{rate}", name, **latency(seen), **numbers)


def behind_large(record, contenders, options):
    """Small mails while a large file is on its way through the same pipe: the load ends when that has arrived."""
    size = int(LARGE_BYTES * options.scale)
    candidates = {"fulmar": remote(1), "lsyncd, delay 0": lsyncd(0)}
    for name, follow in followers_wanted(record, options, "h", candidates):
        with record.attempt("h", name):
            beside_large(record, contenders, name, follow, size)


def beside_large(record, contenders, name, follow, size):
    mails = 120 * SMALL_RATE
    with scene(contenders, mails, more_bytes=size) as (source, replica):
        beside = source.parent / "large"
        choices = random.Random(5)
        with open(beside, "wb") as file:
            for start in range(0, size, large.PIECE_BYTES):
                file.write(choices.randbytes(min(large.PIECE_BYTES, size - start)))
        os.sync()
        with follow(contenders, source, replica) as follower:
            before = process.tree_cpu_seconds(follower.pid)
            beside.rename(source / "large")
            words = ["--rate", SMALL_RATE, "--seconds", 120, "--until", "large", "--drain", DRAIN_MAX_S]
            seen = followers.deliver(contenders, source, replica, *words)
            cpu = process.tree_cpu_seconds(follower.pid) - before
            if not (replica / "large").exists():
                raise process.Failed(f"{name}: the large file has not arrived")
    record.add("h", name, **latency(seen), large_s=seen["published_s"], cpu_s=cpu)


def fan_out(record, contenders, options):
    """What the primary has to do for eight replicas. Far ends are processes of their own, local replicas threads of their own."""
    seconds = max(LOAD_S_MIN, LOAD_S * options.scale)
    mails = int(FANOUT_RATE * seconds)
    for kind, follow in {"local": local, "piped": remote}.items():
        for replicas in [1, REPLICAS]:
            with record.attempt("i", f"fulmar, {replicas} {kind}"):
                to_several(record, contenders, kind, follow, replicas, seconds, mails)


def to_several(record, contenders, kind, follow, replicas, seconds, mails):
    with scene(contenders, mails, replicas) as (source, replica), follow(replicas)(contenders, source, replica) as follower:
        own, all_ = primary_cpu_seconds(follower.pid), process.tree_cpu_seconds(follower.pid)
        words = ["--rate", FANOUT_RATE, "--seconds", seconds, "--flagged", FLAGGED_PERCENT, "--drain", DRAIN_MAX_S]
        seen = followers.deliver(contenders, source, replica, *words)
        followers.await_durable(contenders.ground.path / "control.sock")
        numbers = {
            "primary_cpu_s": primary_cpu_seconds(follower.pid) - own,
            "cpu_s": process.tree_cpu_seconds(follower.pid) - all_,
        }
        arrived = [sum(1 for part in ["new", "cur"] for _ in place.glob(f"user*/{part}/*")) for place in places(replica, replicas)]
        if len(set(arrived)) != 1 or arrived[0] == 0:
            raise process.Failed(f"fulmar, {replicas} replicas: {arrived} files have arrived")
    record.add("i", f"fulmar, {replicas} {kind}", **numbers, **latency(seen))


def primary_cpu_seconds(pid):
    return process.cpu_seconds(pid, children=False) - process.thread_cpu_seconds(pid, REPLICA_THREADS)


def local(replicas):
    @contextmanager
    def follow(contenders, source, replica):
        places_ = places(replica, replicas)
        with followers.fulmar(contenders, source, places_, source.parent / "state", "--durability", "batch") as follower:
            yield follower

    return follow


def remote(replicas):
    @contextmanager
    def follow(contenders, source, replica):
        script = large.rsh(contenders, f"exec '{contenders.fulmar}' \"$@\"")
        places_ = [f"far:{place}" for place in places(replica, replicas)]
        options = ["--durability", "batch", "--rsh", script]
        with followers.fulmar(contenders, source, places_, source.parent / "state", *options) as follower:
            yield follower

    return follow


def places(replica, replicas):
    """The first is the one that is watched."""
    return [replica, *(replica.with_name(f"replica{number}") for number in range(2, replicas + 1))]


def latency(seen):
    names = ["p50_ms", "p99_ms", "max_ms", "drain_s", "missed", "late_ms"]
    return {name: seen[name] for name in names}
