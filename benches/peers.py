"""Who copies trees: Fulmar, rsync in its variants, cp, tar, and the floor. Each is a command for a source and a destination."""

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import process

DAEMON_START_MAX_S = 10
# Of a side, from a disk that has several things to do at once.
COLD_READERS = 8


@dataclass
class Peer:
    """`first`, `again`, `audit` and `audit_cold` (from the disk) take (source, destination, log) and give the Cost; None where it
    would just copy again, or cannot."""

    name: str
    needs: str
    first: Callable
    again: Callable | None = None
    audit: Callable | None = None
    audit_cold: Callable | None = None


class Contenders:
    """All of them, with the programs they need."""

    def __init__(self, fulmar, bench, ground):
        self.fulmar, self.bench, self.ground = fulmar, bench, ground

    def trees(self):
        """In the order of the table, Fulmar first."""
        checksum = self.rsync("-naHAXi", "--checksum", "--delete")
        return [
            Peer("fulmar", str(self.fulmar), self.sync, self.sync, self.verify, self.verify),
            Peer("rsync -aHAX", "rsync", self.rsync("-aHAX"), self.rsync("-aHAX"), checksum, checksum),
            Peer("rsync -aHAX daemon", "rsync", self.rsync_daemon("-aHAX"), self.rsync_daemon("-aHAX")),
            Peer("rsync -a daemon", "rsync", None, self.rsync_daemon("-a")),
            Peer("cp -a", "cp", self.cp),
            Peer("tar | tar", "tar", self.tar),
            Peer("floor", str(self.bench), self.copy, self.walk, self.hash(2), self.hash(2 * COLD_READERS)),
        ]

    def sync(self, source, to, log, *options):
        return process.measure([self.fulmar, "sync", source, to, "--state-dir", state_of(to), "--quiet", *options], log, durable=to.parent)

    def verify(self, source, to, log):
        return process.measure([self.fulmar, "sync", "--verify", source, to], log)

    def rsync(self, *options):
        return lambda source, to, log: process.measure(["rsync", *options, f"{source}/", f"{to}/"], log, durable=to.parent)

    def rsync_daemon(self, *options):
        def run(source, to, log):
            to.mkdir(exist_ok=True)
            with daemon(self.ground, to) as (url, pid):
                return process.measure(["rsync", *options, "--stats", f"{source}/", url], log, also=[pid], durable=to.parent)

        return run

    def cp(self, source, to, log):
        return process.measure(["cp", "-a", source, to], log, durable=to.parent)

    def tar(self, source, to, log):
        to.mkdir()
        script = 'tar -C "$1" --xattrs --acls -cf - . | tar -C "$2" --xattrs --acls -xpf -'
        return process.measure(["sh", "-c", script, "tar", source, to], log, durable=to.parent)

    def copy(self, source, to, log):
        return process.measure([self.bench, "copy", source, to, "--threads", "2"], log, durable=to.parent)

    def walk(self, source, to, log):
        return process.measure([self.bench, "walk", source, to, "--threads", "2"], log)

    def hash(self, threads):
        """Both sides by so many threads in all."""
        return lambda source, to, log: process.measure([self.bench, "walk", "--hash", source, to, "--threads", str(threads)], log)

    def warm(self, source):
        subprocess.run([self.bench, "walk", "--read", source], check=True, stdout=subprocess.DEVNULL)

    def found(self, tree):
        """What `walk` says of a tree, as JSON text."""
        return subprocess.run([self.bench, "walk", tree], check=True, capture_output=True, text=True).stdout


def is_installed(peer):
    return shutil.which(peer.needs) is not None


def state_of(replica):
    """Fulmar's own state, beside the replica on the same fresh file system."""
    return replica.parent / "state"


@contextmanager
def daemon(ground, module):
    """An rsync daemon on loopback that serves one directory; its URL and its pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ground.path / "rsyncd.conf"
    owner = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
    config.write_text(f"use chroot = no\n{owner}[replica]\npath = {module}\nread only = no\n")
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={config}"]
    with process.running(command, ground.log("rsyncd")) as server:
        process.until(DAEMON_START_MAX_S, "rsync listens", lambda: answers(port), server)
        # The probe's own process is to be gone before anything is counted.
        process.until(DAEMON_START_MAX_S, "the probe has ended", lambda: len(process.descendants(server.pid)) == 1, server)
        yield f"rsync://127.0.0.1:{port}/replica/", server.pid


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def rsync_bytes(output):
    """What crossed the wire both ways, from `--stats`."""
    lines = [line for line in output.splitlines() if line.startswith(("Total bytes sent:", "Total bytes received:"))]
    return sum(int(line.split(":")[1].replace(",", "").replace(".", "")) for line in lines)


def size_on_disk(path):
    """Bytes of all files below `path`."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
