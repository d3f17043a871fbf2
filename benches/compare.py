#!/usr/bin/env python3
"""How fast Fulmar is beside rsync, lsyncd, cp, tar and what the machine could do at best.

    a  first sync of Maildirs           b  first sync of a web root
    c  nothing changed since a          d  one large file, changed in three ways, over a wire
    e  one large file, replaced         f  latency of one mail at a time
    g  500, 2 000, 5 000 mails/s        h  200 mails/s while a large file is on its way
    i  one replica against eight        j  restart of follow on a's tree
    k  a million tiny files: first sync, nothing changed, restart
    l  every byte of a's tree compared with its copy, from memory and from the disk
    m  the trees of a and k, verified quickly beside a follow

Needs root (loop mounts) and a quiet machine. What is measured and how stands in docs/performance.md. Whatever is not
installed is skipped, with a line. Progress goes to stderr, the table to stdout.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ground
import large
import live
import process
import table
import trees
from peers import Contenders
from record import Record

ROOT = Path(__file__).resolve().parent.parent
STDOUT = Path("/dev/stdout")
MEASURES = "abcdefghijklm"


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    process.adopt_orphans()
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    if options.bench is None:
        build(["-p", "fulmar-tree", "--example", "bench"])
    if options.fulmar is None:
        build([])
    with ground.prepared(options.dir, options.direct_io) as place:
        # A program that is rebuilt under way would be two programs in one table.
        fulmar = shutil.copy(options.fulmar or built / "fulmar", place.path / "fulmar")
        bench = shutil.copy(options.bench or built / "examples/bench", place.path / "bench")
        options.sources = options.sources or place.path / "sources"
        contenders, record = Contenders(fulmar, bench, place), Record()
        try:
            for part in [trees, large, live]:
                part.run(record, contenders, options)
        finally:
            # What was measured before a failure is worth its time.
            report(record, options)
    sys.exit(1 if record.failed else 0)


def report(record, options):
    print(table.text(record, options), flush=True)
    for path, show in [(options.json, table.as_json), (options.markdown, table.markdown)]:
        if path is not None:
            path.write_text(show(record, options) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=MEASURES, help="measures, such as a,b,d (default: all)")
    parser.add_argument("--peers", help="only contenders whose name has one of these words, such as fulmar,rsync (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="of each; medians and ranges are printed (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of trees and files, duration of loads (default: %(default)s)")
    parser.add_argument("--fulmar", type=Path, help="measure this program instead of building one")
    parser.add_argument("--bench", type=Path, help="take this for floors and loads instead of building the example of that name")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where to work; a real disk with 20 GB free (default: %(default)s)")
    parser.add_argument("--direct-io", action="store_true", help="no page cache below the images, as for a disk of their own (docs/performance.md)")
    parser.add_argument("--sources", type=Path, help="keep the source trees here, and take them from here")
    parser.add_argument("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE", help="every sample as JSON, by default behind the table")
    parser.add_argument("--markdown", type=Path, nargs="?", const=STDOUT, metavar="FILE", help="the table for docs/performance.md")
    options = parser.parse_args()
    options.only = [word for word in options.only.replace(",", "")]
    unknown = set(options.only) - set(MEASURES)
    if unknown:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("only root can mount images")
    if shutil.which("mkfs.ext4") is None:
        parser.error("mkfs.ext4 (e2fsprogs) is missing")
    words = options.peers.split(",") if options.peers else [""]
    options.wants = lambda name: any(word in name for word in words)
    return options


def build(words):
    subprocess.run(["cargo", "build", "--release", "--quiet", *words], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
