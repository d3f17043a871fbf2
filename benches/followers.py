"""Who follows: Fulmar, lsyncd, and the floor, a bare watch-and-copy loop. Each is a running process that has caught up."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import peers
import process

START_MAX_S = 300
WAIT_MS = 300_000


@contextmanager
def fulmar(contenders, source, replicas, state, *options):
    """`fulmar follow`, once every replica is live and has everything."""
    control = contenders.ground.path / "control.sock"
    command = [contenders.fulmar, "follow", source, *replicas, "--state-dir", state, "--control", control, "--quiet", *options]
    with process.running(command, contenders.ground.log("follow")) as follower:
        await_live(control, len(replicas), follower)
        await_durable(control)
        yield follower


@contextmanager
def lsyncd(contenders, source, replica, delay):
    """`lsyncd`, once it has copied what is there: it reports nothing, so a file tells."""
    (source / "ready").touch()
    command = ["lsyncd", "-nodaemon", "-delay", str(delay), "-rsync", source, replica]
    with process.running(command, contenders.ground.log("lsyncd")) as follower:
        process.until(START_MAX_S, "lsyncd has copied", lambda: (replica / "ready").exists(), follower)
        # The rsync that has brought it goes on with what sorts behind.
        process.until(START_MAX_S, "lsyncd's first rsync has ended", lambda: len(process.descendants(follower.pid)) == 1, follower)
        yield follower


@contextmanager
def mirror(contenders, source, replica):
    """The floor; it says when it watches."""
    log = contenders.ground.log("mirror")
    with process.running([contenders.bench, "mirror", source, replica], log) as follower:
        process.until(START_MAX_S, "the mirror watches", lambda: log.read_text().startswith("{"), follower)
        yield follower


def await_live(control, replicas, follower):
    def live():
        answer = ask(control, {"version": 1, "command": "status"})
        states = [replica["state"] for tree in (answer or {}).get("trees", []) for replica in tree["replicas"]]
        return states == ["live"] * replicas

    process.until(START_MAX_S, "every replica is live", live, follower)


def await_durable(control):
    answer = ask(control, {"version": 1, "command": "wait", "timeout_ms": WAIT_MS})
    if (answer or {}).get("answer") != "durable":
        raise process.Failed(f"fulmar wait: {answer}")


def ask(control, request):
    """One question on the control socket; None while nobody listens."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(connection.makefile().readline() or "null")
    except OSError:
        return None


def fulmar_restart(record, measure, contenders, source, to, number):
    """From the start of `follow` until every replica is live, and until a mail that came while it was down is there."""
    control, name = contenders.ground.path / "control.sock", f"restart-{number}-fulmar"
    profile = ["--profile", "maildir"] if measure == "j" else []
    with fulmar(contenders, source.path, [to], peers.state_of(to), *profile):
        # Only then the tree has been looked through.
        await_durable(control)
    command = [contenders.fulmar, "follow", source.path, to, "--state-dir", peers.state_of(to), "--control", control, "--quiet", *profile]
    missed = mailbox(source) / name
    missed.write_text("came while nobody looked\n")
    try:
        started = time.monotonic()
        with process.running(command, contenders.ground.log("follow")) as follower:
            await_live(control, 1, follower)
            live = time.monotonic()
            process.until(START_MAX_S, "the new file arrives", lambda: (to / missed.relative_to(source.path)).exists(), follower)
            await_durable(control)
            ended = time.monotonic()
            numbers = {"cpu_s": process.cpu_seconds(follower.pid), "peak_mib": process.high_water_kib(follower.pid) / 1024}
        record.add(measure, "fulmar", live_s=live - started, caught_up_s=ended - started, **numbers)
    finally:
        missed.unlink()


def fulmar_verify(record, measure, contenders, source, to):
    """A quick verification beside a `follow` that has nothing else to do; the second, as the first one's records are read from the disk."""
    profile = ["--profile", "maildir"] if measure == "m-mail" else []
    with fulmar(contenders, source.path, [to], peers.state_of(to), "--verify-quick-every", "never", *profile) as follower:
        command = [contenders.fulmar, "verify", source.path, "--control", contenders.ground.path / "control.sock"]
        for _ in range(2):
            cost = process.measure(command, contenders.ground.log("verify"), also=[follower.pid])
        record.add(measure, "fulmar", seconds=cost.seconds, cpu_s=cost.cpu_s)


def lsyncd_restart(record, measure, contenders, source, to, number):
    """lsyncd keeps nothing: a start is a whole rsync. Over when that has ended."""
    if shutil.which("lsyncd") is None:
        record.skip(measure, "lsyncd", "is not installed")
        return
    missed = mailbox(source) / f"restart-{number}-lsyncd"
    missed.write_text("came while nobody looked\n")
    try:
        started = time.monotonic()
        command = ["lsyncd", "-nodaemon", "-delay", "0", "-rsync", source.path, to]
        with process.running(command, contenders.ground.log("lsyncd")) as follower:
            process.until(START_MAX_S, "the new file arrives", lambda: (to / missed.relative_to(source.path)).exists(), follower)
            process.until(START_MAX_S, "its rsync has ended", lambda: len(process.descendants(follower.pid)) == 1, follower)
            ended = time.monotonic()
            cpu = process.tree_cpu_seconds(follower.pid)
        record.add(measure, "lsyncd", caught_up_s=ended - started, cpu_s=cpu)
    finally:
        missed.unlink()


def mailbox(source):
    """A directory of the source in which a new file is nothing special."""
    candidates = sorted(source.path.glob("*/new")) or sorted(source.path.glob("*/*"))
    return next(path for path in candidates if path.is_dir())


def deliver(contenders, source, replica, *options, seconds_max=900):
    """Runs the load; what it printed."""
    command = [contenders.bench, "deliver", source, replica, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds_max)
    if done.returncode != 0:
        raise process.Failed(f"{' '.join(map(str, command))}: {done.stderr}")
    return json.loads(done.stdout)
