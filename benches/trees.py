"""Measures of whole trees: first sync, nothing changed, restart, audit, quick verification (a, b, c, j, k, l, m).

One fresh image for each contender and run; on it the first sync, then what is asked of an existing copy.
"""

import json
import os
import sys
from pathlib import Path

import followers
import peers
import process
import workload

# Workload, and which measure its first sync, its second, its restart, its audit (from memory, and from the disk) and its quick
# verification are.
PLANS = {
    "W1": {"first": "a", "again": "c", "restart": "j", "audit": "l-warm", "cold": "l-cold", "verify": "m-mail"},
    "W2": {"first": "b"},
    "W4": {"first": "k-first", "again": "k-noop", "restart": "k-restart", "verify": "m-tiny"},
}
# Who has no part in these has none.
ONLY_OF = {"restart": ["fulmar", "rsync -aHAX"], "verify": ["fulmar", "floor"]}
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def run(record, contenders, options):
    for name, plan in PLANS.items():
        plan = {step: measure for step, measure in plan.items() if measure[0] in options.only}
        if not plan:
            continue
        source = workload.obtain(options.sources, name, options.scale)
        print(f"{name}: {json.dumps(workload.describe(source))}", file=sys.stderr, flush=True)
        for number in range(options.runs):
            for peer in contenders.trees():
                measure = next(iter(plan.values()))
                if not options.wants(peer.name):
                    continue
                if not peers.is_installed(peer):
                    record.skip(measure, peer.name, "is not installed")
                elif all(peer.name not in ONLY_OF.get(step, [peer.name]) for step in plan):
                    continue
                else:
                    with record.attempt(measure, peer.name):
                        one(record, contenders, source, peer, plan, number)


def one(record, contenders, source, peer, plan, number):
    """One contender's life on a fresh image."""
    log = contenders.ground.log("tree")
    with contenders.ground.image(source.bytes, source.entries) as mounted:
        to = mounted / "replica"
        contenders.warm(source.path)
        # What others left to be written is not this one's cost.
        os.sync()
        if peer.first is None and "again" not in plan:
            return
        if set(plan) <= {"audit", "cold"} and peer.audit is None:
            return
        # Who has no first copy of its own is given another's.
        cost = (peer.first or contenders.rsync("-aHAX"))(source.path, to, log)
        if "first" in plan and peer.first is not None:
            found = json.loads(contenders.found(to))
            if (found["files"], found["bytes"]) != (source.files, source.bytes):
                raise process.Failed(f"{peer.name}: {found} has arrived of {source}")
            numbers = {"seconds": cost.seconds, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib}
            if peer.name == "fulmar":
                stored = peers.size_on_disk(peers.state_of(to)) + peers.size_on_disk(to / ".fulmar")
                numbers |= {"store_bytes_per_file": stored / source.files}
            record.add(plan["first"], peer.name, **numbers)
        if "again" in plan and peer.again is not None:
            # The first of several finds what the copy left behind; a median of one run is as good as its calmest.
            cost = peer.again(source.path, to, log)
            numbers = {"seconds": cost.seconds, "cpu_s": cost.cpu_s, "peak_mib": cost.peak_mib}
            if "daemon" in peer.name:
                numbers |= {"wire_bytes": peers.rsync_bytes(cost.output)}
            record.add(plan["again"], peer.name, **numbers)
        if "audit" in plan and peer.audit is not None:
            # Both sides warm, as far as memory goes.
            contenders.warm(source.path)
            contenders.warm(to)
            cost = peer.audit(source.path, to, log)
            record.add(plan["audit"], peer.name, seconds=cost.seconds, cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)
        if "cold" in plan and peer.audit_cold is not None:
            if forget():
                cost = peer.audit_cold(source.path, to, log)
                record.add(plan["cold"], peer.name, seconds=cost.seconds, cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)
            else:
                record.skip(plan["cold"], peer.name, f"cannot be measured: {DROP_CACHES} is not to be written")
        if "verify" in plan and peer.name in ONLY_OF["verify"]:
            contenders.warm(source.path)
            contenders.warm(to)
            if peer.name == "fulmar":
                followers.fulmar_verify(record, plan["verify"], contenders, source, to)
            else:
                cost = contenders.walk(source.path, to, log)
                record.add(plan["verify"], peer.name, seconds=cost.seconds, cpu_s=cost.cpu_s)
        if "restart" in plan and peer.name == "fulmar":
            followers.fulmar_restart(record, plan["restart"], contenders, source, to, number)
        if "restart" in plan and peer.name == "rsync -aHAX":
            followers.lsyncd_restart(record, plan["restart"], contenders, source, to, number)
        if "restart" in plan and peer.name == "floor":
            cost = process.measure([contenders.bench, "walk", source.path, "--threads", "2"], log)
            record.add(plan["restart"], peer.name, caught_up_s=cost.seconds, cpu_s=cost.cpu_s)


def forget():
    """Everything that is in memory of any disk, of an image's content and of the file that it is; false where that is not allowed."""
    os.sync()
    try:
        DROP_CACHES.write_text("3\n")
    except OSError:
        return False
    return True
