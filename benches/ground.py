"""Where runs happen: one temporary directory, and in it freshly made ext4 images, gone afterwards however a run ends.

A fresh file system for each run that creates a tree, for every program alike: ext4 looks for inodes among those that were freed
a short time ago, which makes the second of two equal runs several times slower.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

IMAGE_BYTES_MIN = 512 << 20
# Nothing that is measured comes near these; sparse images take what is written.
BYTES_FACTOR = 4
INODES_SPARE = 20_000


class Ground:
    """A directory for everything, and the images mounted in it."""

    def __init__(self, path, direct_io):
        self.path = path
        self.direct_io = direct_io
        self.number = 0

    @contextmanager
    def image(self, bytes_expected, entries_expected):
        """A mounted, empty ext4 with room for several copies of what is expected."""
        self.number += 1
        image, mounted = self.path / f"image{self.number}", self.path / f"mounted{self.number}"
        mounted.mkdir()
        try:
            with open(image, "wb") as file:
                file.truncate(IMAGE_BYTES_MIN + BYTES_FACTOR * (bytes_expected + entries_expected * 4096))
            inodes = INODES_SPARE + 2 * entries_expected
            # Without the lazy options the kernel would go on formatting while we measure.
            options = ["-m", "0", "-N", str(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0"]
            subprocess.run(["mkfs.ext4", "-q", *options, image], check=True)
            self.mount(image, mounted)
            try:
                # mkfs puts it there; in a replica it would be a stray.
                (mounted / "lost+found").rmdir()
                yield mounted
            finally:
                if subprocess.run(["umount", mounted]).returncode != 0:
                    subprocess.run(["umount", "--lazy", mounted], check=True)
        finally:
            image.unlink(missing_ok=True)
            mounted.rmdir()

    def mount(self, image, mounted):
        if not self.direct_io:
            subprocess.run(["mount", "-o", "loop,noatime", image, mounted], check=True)
            return
        setup = ["losetup", "--show", "--direct-io=on", "--find", image]
        device = subprocess.run(setup, check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "noatime", device, mounted], check=True)
        finally:
            # Once it is mounted it goes when it is unmounted.
            subprocess.run(["losetup", "--detach", device], check=True)

    def log(self, name):
        return self.path / f"{name}.log"


@contextmanager
def prepared(directory, direct_io):
    """A ground below `directory`. With `direct_io` the images are not cached a second time, as part of the file system they are on."""
    path = Path(tempfile.mkdtemp(prefix="fulmar-bench-", dir=directory))
    try:
        yield Ground(path, direct_io)
    finally:
        # An image that could not be unmounted keeps its content: a mount is never descended into.
        if not any(os.path.ismount(below) for below in path.iterdir()):
            shutil.rmtree(path)
