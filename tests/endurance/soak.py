#!/usr/bin/env python3
"""The collector's soak: 16 clients over one small pool of content while a sweep runs every second.

    python3 tests/endurance/soak.py --binary PATH [--minutes 60] [--default-lease] [--seed N] [--break KIND]

Clients push (whole, POST and PUT, in chunks, streamed), mount with and without `from`, HEAD and skip, move tags, attach
referrers, delete tags, manifests and blobs, and pull and verify, all over the same digests, so that garbage is made and
wanted again all the time. Every answer is judged by ledger.py: an acknowledged push must be readable until a client
deletes it, and a refusal must be explained by somebody's delete or by a client slower than its lease.

With the lease of 5 s the end is: clients stop, leases run out, `dryport gc`; then `check --deep` must find nothing, the
content files must be exactly what the repositories reference (read through the API, every byte), and after a delete of
every tag none may be left. With --default-lease (24 h) only what clients delete can be freed: the same load, check and
walk, and every content file must be of a digest that was pushed.

Prints counts, latencies by kind of request, and one line `soak: ...`; exits 1 on any failure. --break file|flip|tag|
move|manifest|blob damages the store behind the ledger's back and exits 0 only if that was noticed.
Python 3.11, standard library only. --keep leaves the data directory.
"""

import argparse
import shutil
import sys
import tempfile
import time

import breaks
from client import Client
from content import Pool
from ledger import Ledger
from record import Record
from server import USER, Server
from walk import Walk, content_files, disk_against
from workload import Shared, Worker

REPOS, TAGS = [f"soak/r{n}" for n in range(4)], [f"t{n}" for n in range(6)]
DAY = 86_400.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--default-lease", action="store_true")
    parser.add_argument("--break", dest="breaks", choices=breaks.KINDS)
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


class Soak:
    def __init__(self, args, home):
        self.args, self.record = args, Record()
        env = {"DRYPORT_GC__INTERVAL": "1s", "DRYPORT_HISTORY__KEEP": "0s", "DRYPORT_POLICY__STRICT": "true"}
        if not args.default_lease:
            env["DRYPORT_BLOBS__LEASE"] = "5s"
        self.server, self.pool = Server(args.binary, home, env), Pool(args.seed, layers=500, images=400, indexes=120, artifacts=120)
        self.ledger = Ledger(self.pool, DAY if args.default_lease else 5.0)
        self.peak, self.places, self.freed_in_load = 0, {}, (0, 0)

    def run(self):
        self.server.init()
        self.server.start()
        self.shared = Shared(self.server.port, USER, self.pool, self.ledger, self.record, REPOS, TAGS)
        workers = [Worker(self.shared, f"{self.args.seed}/{n}") for n in range(self.args.threads)]
        for worker in workers:
            worker.start()
        self.watch(self.args.minutes * 60)
        self.shared.stop.set()
        self.freed_in_load = self.freed()
        for worker in workers:
            worker.join(90)
            if worker.is_alive():
                self.record.fail("a client did not end")
        if self.server.alive() and not (self.args.breaks and self.record.failures):
            self.after_load()

    def watch(self, seconds):
        """Waits, and says every minute how it goes."""
        end, said, strike = time.monotonic() + seconds, time.monotonic(), time.monotonic() + seconds * 0.4
        while time.monotonic() < end and not (self.args.breaks and self.record.failures):
            time.sleep(min(1.0, max(0.05, end - time.monotonic())))
            self.look()
            if not self.server.alive():
                return self.record.fail(f"the server ended:\n{self.server.tail()}")
            self.peak = max(self.peak, self.server.memory()[0])
            if time.monotonic() - said > 60:
                said = time.monotonic()
                files, size = self.freed()
                print(f"  {said - self.record.begin:6.0f} s: {self.record.requests()} requests, {len(self.record.failures)} "
                      f"failures, {files} files with {size >> 20} MiB freed, {self.peak} MiB of memory at most", flush=True)
            if self.args.breaks and time.monotonic() > strike:
                # Again and again: what is damaged may be replaced before anybody looks.
                strike = time.monotonic() + 2
                struck = breaks.strike(self.args.breaks, self.shared, self.server.data, time.monotonic())
                print(f"BREAK {self.args.breaks}: {struck}", flush=True)
        return None

    def look(self):
        """Remembers every content file ever seen: a place is used once, so one that is gone was freed."""
        for _, path, size in content_files(self.server.data):
            self.places[path] = size

    def freed(self):
        """Content files that were seen and are gone, and their bytes: what the collector really gave back."""
        there = {path for _, path, _ in content_files(self.server.data)}
        gone = [size for path, size in self.places.items() if path not in there]
        return len(gone), sum(gone)

    # ---- the end -------------------------------------------------------------------------------------------------

    def after_load(self):
        self.final_reads()
        if not self.args.default_lease:
            self.collect("after the load")
            self.compare("after the load")
        self.check()
        walk = Walk(self.server.port, USER).run()
        self.dangling(walk)
        if self.args.default_lease:
            pushed = {digest: size for digest, size in self.pool.sizes().items()}
            for problem in disk_against(self.server.data, pushed)[0]:
                if "has no file" not in problem:
                    self.record.fail(f"content files: {problem}")
        else:
            self.empty(walk)

    def final_reads(self):
        """With nobody writing, every tag must mean what the ledger says, and be whole."""
        reader = Worker(self.shared, "final")
        for repo in REPOS:
            for tag in TAGS:
                reader.read_tag(repo, tag)
            reader.list_tags(repo)
        walk = Walk(self.server.port, USER).run()
        for (repo, tag), digest in walk.tags.items():
            values = self.ledger.tag_values(repo, tag, time.monotonic(), time.monotonic())
            if digest not in values:
                self.record.fail(f"{repo}:{tag} means {digest} at the end; it may mean {values}")
            self.record.count("tags that may mean two things at the end", len(values) > 1)
        self.dangling(walk)

    def dangling(self, walk):
        """Holes below a tag are only right where a client deleted the part and nobody pushed it again."""
        for problem in walk.problems:
            repo, digest = problem.split(":")[0], "sha256:" + problem.split("sha256:")[1][:64]
            now = time.monotonic()
            if self.ledger.covered(repo, digest, now, now) or ": 404" not in problem:
                self.record.fail(f"dangling: {problem}\n    {self.ledger.describe(repo, digest)}")
            else:
                self.record.count("holes by a client's delete")

    def collect(self, when):
        """Waits until leases have run out, level by level, and sweeps until two sweeps free nothing."""
        idle, end = 0, time.monotonic() + 120
        while idle < 2 and time.monotonic() < end:
            time.sleep(6)
            code, report = self.server.json("gc")
            if code != 0 or not {"examined", "freed_blobs", "freed_bytes", "kept_by_lease", "kept_by_history"} <= set(report):
                return self.record.fail(f"gc {when}: exit {code}: {report}")
            idle = 0 if report["freed_blobs"] or report["kept_by_lease"] else idle + 1
        print(f"  last sweep {when}: {report}")
        return None

    def compare(self, when):
        walk = Walk(self.server.port, USER).run()
        problems, size = disk_against(self.server.data, walk.sizes)
        for problem in problems:
            self.record.fail(f"disk {when}: {problem}")
        print(f"  disk {when}: {size} bytes in content files, {len(walk.sizes)} digests referenced by {len(walk.tags)} "
              f"tags of {len(walk.repos)} repositories; {len(problems)} differences")

    def check(self):
        for serving in (True, False):
            if not serving and self.server.stop() != 0:
                self.record.fail(f"the server did not stop in order:\n{self.server.tail()}")
            code, report = self.server.json("check", "--deep")
            if code != 0 or report.get("problems") != []:
                self.record.fail(f"check --deep ({'serving' if serving else 'offline'}): exit {code}: {str(report)[:2000]}")
        self.server.start()

    def empty(self, walk):
        """Without tags everything goes."""
        client = Client(self.server.port, USER)
        for repo, tag in walk.tags:
            if client.request("DELETE", f"/v2/{repo}/manifests/{tag}").status != 202:
                self.record.fail(f"{repo}:{tag} cannot be deleted at the end")
        self.collect("without tags")
        self.compare("without tags")


def main():
    args = arguments()
    home = tempfile.mkdtemp(prefix="dryport-soak.")
    soak = Soak(args, home)
    print(f"soak: seed {args.seed}, {args.threads} clients, {args.minutes:g} minutes, lease "
          f"{'24h (default)' if args.default_lease else '5s'}; log {soak.server.log}", flush=True)
    try:
        soak.run()
        memory = soak.server.memory() if soak.server.alive() else (0, 0)
    finally:
        soak.server.kill()
    record, (files, size) = soak.record, soak.freed_in_load
    if not args.default_lease and size * 10 < sum(soak.places.values()):
        record.fail(f"only {size} of {sum(soak.places.values())} bytes were freed while clients were busy")
    print("\n".join([f"  {n:>9} {what}" for what, n in sorted(record.counts.items())] + record.latencies() + record.again()))
    print(f"soak: {record.requests()} requests, {len(record.failures)} failures, "
          f"{record.counts['bytes pushed'] >> 20} MiB pushed, "
          f"{sum(soak.places.values()) >> 20} MiB of it new, {files} files with {size >> 20} MiB freed meanwhile, "
          f"server memory {max(soak.peak, memory[1])} MiB at most")
    return finish(args, home, record)


def finish(args, home, record):
    if args.breaks:
        print(f"BREAK {args.breaks}: {'noticed' if record.failures else 'NOT NOTICED'}")
        shutil.rmtree(home, ignore_errors=True)
        return 0 if record.failures else 1
    if record.failures or args.keep:
        print(f"kept: {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return 1 if record.failures else 0


if __name__ == "__main__":
    sys.exit(main())
