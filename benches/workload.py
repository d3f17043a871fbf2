"""Source trees, the same in every run: W1 Maildirs, W2 a web root, W4 many tiny files. W3, one large file, is in `large.py`.

A tree is made once for each scale, with a stamp beside it when it is complete, and read only afterwards.
"""

import json
import os
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

BLOCK_BYTES = 16 << 20
MAIL_BYTES_MAX = 2 << 20
MAILS_PER_USER = 1000
FOLDERS = ["", ".Archive", ".Sent", ".Drafts", ".Trash"]
# Half of all mail is in the INBOX.
FOLDER_WEIGHTS = [50, 30, 12, 2, 6]
SITE_FILES = 60_000
TINY_FILES = 1_000_000
TINY_DIRECTORIES = 20_000
TINY_BYTES_MAX = 1024
TIME_S = 1_780_000_000
YEAR_S = 31_536_000


@dataclass
class Workload:
    """Where a tree is and what it holds; directories include the root."""

    path: Path
    files: int
    bytes: int
    entries: int


class Content:
    """Bytes to cut files from: half of them text, half incompressible, and no two files equal."""

    def __init__(self, seed):
        self.choices = random.Random(seed)
        words = [self.choices.randbytes(6).hex()[: self.choices.randint(2, 12)] for _ in range(4000)]
        text = " ".join(self.choices.choices(words, k=BLOCK_BYTES // 6)).encode()
        self.blocks = [text, self.choices.randbytes(BLOCK_BYTES)]
        self.number = 0

    def write(self, path, length, mode=None):
        """One file with a time in the year before; returns its length."""
        self.number += 1
        block = self.blocks[self.number % 2]
        start = self.choices.randrange(len(block) - length) if length < len(block) else 0
        with open(path, "wb") as file:
            file.write((b"%08d " % self.number + block[start : start + length])[:length])
        if mode is not None:
            os.chmod(path, mode)
        nanoseconds = (TIME_S - self.choices.randrange(YEAR_S)) * 1_000_000_000 + self.choices.randrange(1_000_000_000)
        os.utime(path, ns=(nanoseconds, nanoseconds))
        return length

    def log_normal(self, median, sigma, largest):
        return min(largest, int(self.choices.lognormvariate(0, sigma) * median))


def obtain(directory, name, scale):
    """The workload `name` (W1, W2, W4) at `scale`, made below `directory` unless it is there."""
    path, stamp = directory / f"{name}-{scale:g}", directory / f"{name}-{scale:g}.json"
    if not stamp.exists():
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        {"W1": maildirs, "W2": web_root, "W4": tiny_files}[name](path, scale)
        found = count(path)
        stamp.write_text(json.dumps(found))
    return Workload(path=path, **json.loads(stamp.read_text()))


def count(path):
    files = total = entries = 0
    for directory, _, names in os.walk(path):
        entries += 1 + len(names)
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            if not os.path.islink(os.path.join(directory, name)):
                files += 1
                total += status.st_size
    return {"files": files, "bytes": total, "entries": entries}


def describe(workload):
    return {key: value for key, value in asdict(workload).items() if key != "path"}


def maildirs(root, scale):
    """200 users with an INBOX and four folders: 200 000 mails, 2.6 GB."""
    content = Content(1)
    for user in range(max(1, round(200 * scale))):
        home = root / f"user{user:04}"
        folders = [home / name for name in FOLDERS]
        for folder in folders:
            for part in ["cur", "new", "tmp"]:
                (folder / part).mkdir(parents=True)
        uids = {folder: [] for folder in folders}
        for number in range(MAILS_PER_USER):
            folder = content.choices.choices(folders, FOLDER_WEIGHTS)[0]
            length = max(600, content.log_normal(5000, 1.4, MAIL_BYTES_MAX))
            name = f"{TIME_S - number * 4111}.M{content.choices.randrange(10**6)}P{1000 + number}.mx1,S={length},W={length + length // 40}"
            flags = "".join(flag for flag in "FRS" if content.choices.random() < 0.5)
            content.write(folder / ("new" if number % 20 == 0 else "cur") / (name if number % 20 == 0 else f"{name}:2,{flags}"), length)
            uids[folder].append(name)
        for folder, names in uids.items():
            lines = [f"3 V{TIME_S} N{len(names) + 1} G{content.choices.randbytes(16).hex()}"]
            lines += [f"{uid} :{name}" for uid, name in enumerate(names, 1)]
            (folder / "dovecot-uidlist").write_text("\n".join(lines) + "\n")
            content.write(folder / "dovecot.index.log", 400 + 90 * len(names))


def web_root(root, scale):
    """60 000 files, 1.5 GB, in deep directories, with symlinks, hard links and executables."""
    content = Content(2)
    directories = [root]
    previous = None
    for number in range(max(100, round(SITE_FILES * scale))):
        if number % 10 == 0:
            # Children of recent directories make it deep.
            parent = content.choices.choice(directories[-40:]) if number % 70 else root
            directory = parent / f"{content.choices.choice(['lib', 'assets', 'modules', 'site', 'cgi-bin'])}{number}"
            directory.mkdir()
            directories.append(directory)
            if content.choices.random() < 0.3:
                (directory / "current").symlink_to(os.path.relpath(content.choices.choice(directories), directory))
        path = directory / f"page{number}.{content.choices.choice(['html', 'js', 'php', 'png', 'so'])}"
        if previous and content.choices.random() < 0.05:
            os.link(previous, path)
            continue
        executable = content.choices.random() < 0.05
        content.write(path, content.log_normal(8300, 1.5, MAIL_BYTES_MAX), 0o755 if executable else 0o644)
        previous = path


def tiny_files(root, scale):
    """1 000 000 files of 0 to 1 KiB in 20 000 directories."""
    content = Content(4)
    directories = max(10, round(TINY_DIRECTORIES * scale))
    for number in range(directories):
        directory = root / f"{number // 200}" / f"{number}"
        directory.mkdir(parents=True)
        for file in range(TINY_FILES // TINY_DIRECTORIES):
            content.write(directory / f"file{file}", content.choices.randint(0, TINY_BYTES_MAX))
