#!/usr/bin/env python3
"""Big changes: restores of many files in many repositories at once, with kill -9 at random points, and their figures.

    python3 tests/endurance/stages.py --binary PATH [--repositories 20] [--files 3000] [--kills 50] [--seed N] [--figures]

Every repository has two snapshots, one of none and one of all its files. `dryport snapshot restore 'stage/**@...'` goes from
one to the other; the kill comes at a random point of it. After each restart all repositories show the one or all show the
other: a file more or less, or one repository otherwise than the rest, is a failure. Every 10 kills, and at the end, a check
finds nothing wrong. --figures takes the times first: of a stage and its flip, memory above that before it, and the rate of
pushes of 64 KiB elsewhere, alone and beside it. Prints one line `stages: ...`; exits 1 on any failure.
Python 3.11, standard library only. --keep leaves the data directory.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client import Client, Gone
from record import Record
from server import USER, Server

PUSHERS, FOLDERS = 8, 50


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--repositories", type=int, default=20)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


class Stages:
    def __init__(self, args, home):
        self.args, self.record, self.rng = args, Record(), random.Random(args.seed)
        self.server = Server(args.binary, f"{home}/main", {"DRYPORT_GC__INTERVAL": "2s"})
        self.repos = [f"stage/r{n:02}" for n in range(args.repositories)]
        self.outcomes, self.shows, self.took = {"old": 0, "new": 0}, "all", 1.0

    def must(self, *words):
        code, out, err = self.server.command(*words)
        if code != 0:
            raise RuntimeError(f"dryport {' '.join(words)}: {code}: {out}{err}")
        return out

    def prepare(self):
        self.server.init()
        self.server.start()
        for repo in [*self.repos, "other"]:
            self.must("repo", "create", repo, "--kind", "file")
        self.must("snapshot", "create", "stage/**", "--as", "none")
        with ThreadPoolExecutor(PUSHERS) as pool:
            list(pool.map(self.fill, self.repos))
        self.must("snapshot", "create", "stage/**", "--as", "all")

    def fill(self, repo):
        client = Client(self.server.port, USER)
        for n in range(self.args.files):
            reply = client.request("PUT", f"/r/{repo}/d{n % FOLDERS:02}/f{n:05}", body=f"{repo} {n % 900}".encode())
            if reply.status != 201:
                raise RuntimeError(f"{reply.what}: {reply.status}")
        client.close()

    # ---- kills ---------------------------------------------------------------------------------------------------

    def files_of(self, repo):
        """How many files it shows; its folders are read one by one."""
        client, found = Client(self.server.port, USER), 0
        for folder in range(FOLDERS):
            reply = client.request("GET", f"/r/{repo}/d{folder:02}/?n=1000", {"Accept": "application/json"})
            found += len(reply.json()["entries"]) if reply.status == 200 else 0
        client.close()
        return found

    def state(self):
        """`all` or `none`; a failure for anything else."""
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(self.files_of, self.repos))
        whole = {0: "none", self.args.files: "all"}.get(found[0])
        if whole is None or any(count != found[0] for count in found):
            self.record.fail(f"repositories show {found} files, where each has {self.args.files} or none")
        return whole

    def kill(self, number):
        wanted = "none" if self.shows == "all" else "all"
        restore = threading.Thread(target=self.server.command, args=("snapshot", "restore", f"stage/**@{wanted}"))
        restore.start()
        time.sleep(self.rng.uniform(0, 1.15 * self.took))
        self.server.kill()
        restore.join()
        self.server.start()
        shows = self.state()
        self.outcomes["new" if shows == wanted else "old"] += 1
        self.shows = shows or self.shows
        if number % 10 == 9:
            self.check()

    def check(self):
        code, out, err = self.server.command("check")
        if code != 0:
            self.record.fail(f"check: {code}: {out[-1500:]}{err[-500:]}")

    # ---- figures -------------------------------------------------------------------------------------------------

    def restore(self, title):
        """Seconds of the command, and how much memory it took above that before it (MiB)."""
        before, most, over = self.server.memory()[0], 0, threading.Event()

        def watch():
            nonlocal most
            while not over.wait(0.02):
                most = max(most, self.server.memory()[0])

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.monotonic()
        self.must("snapshot", "restore", f"stage/**@{title}")
        took = time.monotonic() - begin
        over.set()
        watcher.join()
        return took, max(0, most - before)

    def figures(self):
        for title in ("none", "all"):
            took, memory = self.restore(title)
            print(f"  to {title}: {took:.2f} s, {memory} MiB above before", flush=True)
        counts, over = [0] * PUSHERS, threading.Event()

        def push(who):
            client, body = Client(self.server.port, USER), bytearray(os.urandom(1 << 16))
            while not over.is_set():
                body[:8] = counts[who].to_bytes(8, "big")
                reply = client.request("PUT", f"/r/other/p{who}-{counts[who] % 100}", body=bytes(body))
                if reply.status not in (200, 201):
                    self.record.fail(f"{reply.what}: {reply.status}")
                counts[who] += 1

        pushers = [threading.Thread(target=push, args=(who,)) for who in range(PUSHERS)]
        for pusher in pushers:
            pusher.start()
        time.sleep(1)
        rates = []
        for work in (lambda: time.sleep(5), lambda: self.restore("none"), lambda: self.restore("all")):
            begin, before = time.monotonic(), sum(counts)
            work()
            took = time.monotonic() - begin
            rates.append((sum(counts) - before) / took)
            print(f"  pushes of 64 KiB elsewhere: {rates[-1]:.0f}/s in {took:.2f} s", flush=True)
        over.set()
        for pusher in pushers:
            pusher.join()
        for line in open(self.server.log, encoding="utf-8"):
            if "a big change is shown" in line and line.startswith("{"):
                said = json.loads(line)
                print(f"  written in {said['written_ms']} ms, shown in {said['flip_ms']} ms", flush=True)

    def run(self):
        self.prepare()
        if self.args.figures:
            self.figures()
        self.took = max(self.restore(title)[0] for title in ("none", "all"))
        for number in range(self.args.kills):
            self.kill(number)
        self.must("snapshot", "restore", "stage/**@all")
        if self.state() != "all":
            self.record.fail("the last restore did not restore")
        self.check()
        self.server.kill()


def main():
    args = arguments()
    home = tempfile.mkdtemp(prefix="dryport-stages.")
    stages = Stages(args, home)
    try:
        stages.run()
    except (RuntimeError, Gone, OSError, KeyError) as error:
        stages.record.fail(f"{type(error).__name__}: {error}")
    finally:
        stages.server.kill()
        if not args.keep:
            shutil.rmtree(home, ignore_errors=True)
    for line in stages.record.again():
        print(line)
    failures, items = len(stages.record.failures), args.files * args.repositories
    print(f"stages: {args.kills} kills in restores of {items} files in {args.repositories} repositories, "
          f"{stages.outcomes['old']} before their end, {stages.outcomes['new']} after it, {failures} failures "
          f"(seed {args.seed})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
