"""Programs that are measured: wall time, CPU seconds and peak memory of a process and all it starts."""

import ctypes
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
MEMORY_TICK_S = 0.02
END_MAX_S = 30
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """One contender has not done what it should: its numbers are worth nothing, those of others are."""


@dataclass
class Cost:
    """What a command took; `peak_mib` is the sum of the largest resident sets of its processes, `each_mib` the largest one."""

    seconds: float
    cpu_s: float
    peak_mib: float
    each_mib: float
    output: str


def measure(command, log, also=(), seconds_max=1800, durable=None):
    """Runs a command to its end, with success. `also` are pids of servers that work for it; `durable` a path whose file system is
    synced before the clock stops."""
    cpu_before = sum(cpu_seconds(pid) for pid in also)
    started = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            with memory_watched([process.pid, *also]) as peaks:
                code, cpu = reap(process, time.monotonic() + seconds_max)
        except BaseException:
            # Whoever interrupts us does not want it to go on.
            process.kill()
            raise
        if durable is not None:
            # Of the command's own work only: another's writes on the same disk are not waited for.
            subprocess.run(["sync", "-f", durable], check=True)
    seconds = time.monotonic() - started
    text = Path(log).read_text(errors="replace")
    if code != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit code {code}\n{text[-2000:]}")
    cpu += sum(reap_orphan(pid) for pid in peaks if pid != process.pid and pid not in also)
    for pid in also:
        until(END_MAX_S, "a server's children have ended", lambda: len(descendants(pid)) == 1, None)
    cpu += sum(cpu_seconds(pid) for pid in also) - cpu_before
    return Cost(seconds, cpu, sum(peaks.values()) / 1024, max(peaks.values(), default=0) / 1024, text)


def reap(process, deadline):
    """Exit code and CPU seconds, with those of the children it has waited for."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise Failed(f"{process.args}: not within its time")
        time.sleep(0.001)


def adopt_orphans():
    """From here on, what a measured command leaves behind becomes a child of this process: its CPU seconds are not lost."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def reap_orphan(pid):
    """CPU seconds of a process that its own parent has not waited for; 0 for any other."""
    deadline = time.monotonic() + END_MAX_S
    while time.monotonic() < deadline:
        try:
            ended, _, usage = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return 0.0
        if ended:
            return usage.ru_utime + usage.ru_stime
        time.sleep(0.005)
    raise Failed(f"process {pid} does not end")


@contextmanager
def memory_watched(pids):
    """Fills a dictionary: pid to VmHWM in KiB, of these processes and their descendants."""
    peaks, ended = {}, threading.Event()

    def watch():
        while True:
            for root in pids:
                for pid in descendants(root):
                    peaks[pid] = max(peaks.get(pid, 0), high_water_kib(pid))
            if ended.wait(MEMORY_TICK_S):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


@contextmanager
def running(command, log, **options):
    """A program in the background, told to end at the end; its descendants are its own business."""
    with open(log, "wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_MAX_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(seconds_max, what, condition, process, pause_s=0.005):
    """Waits for a condition, while `process` runs if one is given."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if process is not None and process.poll() is not None:
            raise Failed(f"{process.args[0]} has ended with {process.returncode} before: {what}")
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds_max} s: {what}")
        time.sleep(pause_s)


def descendants(pid):
    found = [pid]
    for parent in found:
        try:
            found += [int(child) for task in os.listdir(f"/proc/{parent}/task") for child in Path(f"/proc/{parent}/task/{task}/children").read_text().split()]
        except OSError:
            pass  # It has ended.
    return found


def cpu_seconds(pid, children=True):
    """User and system seconds of a running process, with those of the children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime, stime, cutime, cstime are fields 14 to 17, of which the first two went with the name.
    return sum(int(field) for field in fields[11 : 15 if children else 13]) / CLOCK_TICKS


def thread_cpu_seconds(pid, names):
    """Of its running threads with one of these names."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text().strip() in names:
                total += sum(int(field) for field in (task / "stat").read_text().rpartition(")")[2].split()[11:13])
        except OSError:
            pass  # It has ended.
    return total / CLOCK_TICKS


def tree_cpu_seconds(pid):
    """The same with all descendants that run."""
    total = 0.0
    for one in descendants(pid):
        try:
            total += cpu_seconds(one)
        except OSError:
            pass  # It has ended: its parent will have its seconds.
    return total


def high_water_kib(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
