#!/usr/bin/env python3
"""kill -9 at random points under load, again and again on one data directory, and what was acknowledged afterwards.

    python3 tests/endurance/kill.py --binary PATH [--kills 1000] [--check-every 25] [--seed N] [--break KIND]

The load: clients that push, mount, move tags, attach, pull and delete (workload.py), uploads in chunks that go on over
the kills, `dryport mirror` from a second Dryport, `tag restore` and `gc` (killwork.py), with sweeps every second, a lease
of 5 s and 10 s of history. The kill comes 50 to 1500 ms after the server is ready. Then it is started again, the time
until /readyz answers is taken, and with nobody writing everything is read:

* each tag means what was acknowledged last, or what a request without an answer may have made of it;
* each manifest and blob that something holds is there and hashes right; what was deleted stays deleted;
* no tag dangles: all that is below it is readable, but for parts that a client deleted;
* each upload stands where its last 202 said, or further, and goes on from there.

What was found is what must hold from then on, so every acknowledged operation is checked after every kill until another
supersedes it. Every --check-every kills `check --deep` looks at the data directory offline, and a walk through the API
reads everything that is shown. Prints one line `kill: ...`; exits 1 on any failure. --break file|flip|tag|move|manifest|
chunk damages the store behind the ledger's back after a restart and exits 0 only if that was noticed.
Python 3.11, standard library only. --keep leaves the data directory.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import breaks
from client import Client, Gone, sha256
from content import Pool
from killwork import Chunks, Commands, check_uploads, closure
from ledger import Ledger
from record import Record
from server import USER, Server
from walk import Walk
from workload import Shared, Worker

REPOS, TAGS, MIRROR = [f"kill/r{n}" for n in range(3)], [f"t{n}" for n in range(6)], "kill/mirror"
WEIGHTS = {"push image": 26, "push index": 8, "retag": 12, "attach": 7, "mount": 8, "pull": 4, "list": 2,
           "delete tag": 10, "delete manifest": 6, "delete blob": 6, "cancel upload": 1}
LEASE = 5.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--check-every", type=int, default=25)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--break", dest="breaks", choices=(*breaks.KINDS[:5], "chunk"))
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


class Kill:
    def __init__(self, args, home):
        self.args, self.record = args, Record()
        env = {"DRYPORT_POLICY__STRICT": "true", "DRYPORT_BLOBS__LEASE": "5s", "DRYPORT_GC__INTERVAL": "1s",
               "DRYPORT_HISTORY__KEEP": "10s"}
        self.server = Server(args.binary, f"{home}/main", env)
        self.upstream_server = Server(args.binary, f"{home}/upstream")
        self.pool = Pool(args.seed, layers=48, images=24, indexes=8, artifacts=10)
        self.ledger, self.rng, self.uploads = Ledger(self.pool, LEASE), random.Random(args.seed), []
        self.mirror_repo, self.upstream, self.shared = MIRROR, {}, None
        self.doomed = threading.Event()
        self.lost_count = self.dangling = self.checked = self.kills = 0
        self.reopened = []

    def lost(self, text):
        self.lost_count += 1
        self.record.fail("LOST " + text)

    # ---- the load ------------------------------------------------------------------------------------------------

    def fill_upstream(self):
        """Tags v0 to v4 in up/app of the second Dryport; its content is partly that of the repositories here."""
        self.upstream_server.init()
        self.upstream_server.start()
        client = Client(self.upstream_server.port, USER)
        tops = [*self.pool.images[:4], self.pool.indexes[0]]
        for number, top in enumerate(tops):
            manifests, blobs = closure(self.pool, top.digest)
            for blob in blobs:
                client.post_whole("up/app", blob, self.pool.blobs[blob])
            for digest in reversed(manifests):
                manifest = self.pool.manifests[digest]
                reference = f"v{number}" if digest == top.digest else digest
                if client.put_manifest("up/app", reference, manifest.media_type, manifest.data).status != 201:
                    raise RuntimeError("the upstream took no push")
            self.upstream[f"v{number}"] = top.digest
        client.close()

    def load_until_kill(self, number):
        self.shared = Shared(self.server.port, USER, self.pool, self.ledger, self.record, REPOS, TAGS)
        self.doomed.clear()
        seed = f"{self.args.seed}/{number}"
        threads = [Worker(self.shared, f"{seed}/{n}", WEIGHTS, mortal=True) for n in range(self.args.clients)]
        threads.append(Chunks(self, f"{seed}/chunks"))
        commands = [Commands(self, f"{seed}/mirror", ["mirror", "mirror", "unmirror"]),
                    Commands(self, f"{seed}/others", ["gc", "restore"])]
        for thread in (*threads, *commands):
            thread.start()
        time.sleep(self.rng.uniform(0.05, 1.5))
        self.doomed.set()
        self.server.kill()
        self.shared.stop.set()
        for command in commands:
            command.end()
        for thread in (*threads, *commands):
            thread.join(60)
            if thread.is_alive():
                raise RuntimeError("a client did not end after the kill")
        self.ledger.broken_off()
        self.kills += 1

    # ---- the judgement -------------------------------------------------------------------------------------------

    def verify(self):
        """Reads everything with nobody writing, judges it, and makes it what must hold from now on."""
        local = threading.local()

        def get(path):
            if not hasattr(local, "client"):
                local.client = Client(self.server.port, USER)
            return local.client.get(path)

        # First, as what a closing PUT committed has a lease only.
        client = Client(self.server.port, USER)
        self.checked += check_uploads(self, client)
        keys, items = list(self.ledger.tags), list(self.ledger.items)
        with ThreadPoolExecutor(6) as threads:
            tags = dict(zip(keys, threads.map(lambda key: get(f"/v2/{key[0]}/manifests/{key[1]}"), keys)))
            kind = lambda digest: "manifests" if digest in self.pool.manifests else "blobs"
            found = dict(zip(items, threads.map(lambda i: get(f"/v2/{i[0]}/{kind(i[1])}/{i[1]}"), items)))
        self.judge_tags(tags)
        self.judge_items(found)
        self.judge_closures(tags, found)
        self.judge_lists(client, tags)
        self.checked += len(tags) + len(found)
        client.close()
        for (repo, digest), reply in found.items():
            self.ledger.settle_item(repo, digest, reply.status == 200, reply)
        for (repo, tag), reply in tags.items():
            self.ledger.settle_tag(repo, tag, sha256(reply.body) if reply.status == 200 else None, reply)

    def judge_tags(self, tags):
        for (repo, tag), reply in tags.items():
            means = sha256(reply.body) if reply.status == 200 else None
            values = self.ledger.tag_values(repo, tag, reply.start, reply.end)
            if means not in values or reply.status not in (200, 404):
                self.lost(f"{repo}:{tag}: {reply.status} {means}, but it may only mean {values}; "
                          f"{self.ledger.tags[(repo, tag)][-5:]}")

    def judge_items(self, found):
        for (repo, digest), reply in found.items():
            if reply.status == 404:
                wrong = self.ledger.covered(repo, digest, reply.start, reply.end) and "is gone"
            elif reply.status != 200 or sha256(reply.body) != digest:
                wrong = f"cannot be read: {reply.status}"
            else:
                wrong = not self.ledger.may_be_there(repo, digest, reply.start, reply.end) and "was deleted and is there"
            if wrong:
                self.lost(f"{repo} {digest} {wrong}\n    {self.ledger.describe(repo, digest)}")

    def judge_closures(self, tags, found):
        """No tag dangles, but where a client deleted a part of an index after the index was pushed."""
        for (repo, tag), reply in tags.items():
            top = sha256(reply.body)
            if reply.status != 200 or top not in self.pool.manifests:
                continue
            manifests, blobs = closure(self.pool, top)
            gone = [d for d in manifests if (repo, d) not in found or found[(repo, d)].status != 200]
            kept = set().union(*(self.pool.manifests[d].blobs for d in manifests if d not in gone))
            gone_blobs = [d for d in blobs & kept if (repo, d) not in found or found[(repo, d)].status != 200]
            by_client = [d for d in gone if d != top and not self.ledger.covered(repo, d, reply.start, reply.end)]
            if gone_blobs or len(gone) > len(by_client):
                self.dangling += 1
                self.record.fail(f"DANGLING {repo}:{tag} -> {top}: {[*gone, *gone_blobs]}")
            self.record.count("holes by a client's delete", len(by_client))

    def judge_lists(self, client, tags):
        for repo in {repo for repo, _ in tags}:
            listed = client.pages(f"/v2/{repo}/tags/list?n=1000", "tags") or []
            means = sorted(tag for (name, tag), reply in tags.items() if name == repo and reply.status == 200)
            if listed != means:
                self.lost(f"{repo}: tags {listed} are listed, {means} are readable")

    def check_offline(self):
        self.server.kill()
        code, report = self.server.json("check", "--deep")
        # What a kill leaves is no damage: content files of writes that were never acknowledged.
        left = [p for p in report.get("problems", [{}]) if p.get("level") == "leftover"]
        self.record.count("leftovers that a check finds", len(left))
        if code != 0 or len(left) != len(report["problems"]):
            self.record.fail(f"check --deep after {self.kills} kills: exit {code}: {str(report)[:2000]}")
        self.reopen()
        for problem in Walk(self.server.port, USER).run().problems:
            self.record.count("holes that a walk finds")
            if ": 404" not in problem:
                self.record.fail(f"walk after {self.kills} kills: {problem}")

    def reopen(self):
        self.reopened.append(self.server.start())
        self.let_jobs_end()

    def let_jobs_end(self):
        """A mirror run that was killed goes on by itself after the start: what it makes visible is not judged half way."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            _, jobs = self.server.json("job", "list")
            if not any(job["state"] in ("queued", "running") for job in jobs):
                return
            time.sleep(0.05)
        self.record.fail(f"jobs that do not end: {jobs}")

    # ---- the run -------------------------------------------------------------------------------------------------

    def run(self):
        self.server.init()
        self.fill_upstream()
        self.server.start()
        said = time.monotonic()
        while self.kills < self.args.kills and not (self.args.breaks and self.record.failures):
            self.load_until_kill(self.kills)
            self.reopen()
            if self.args.breaks and self.kills > 2:
                self.strike()
            self.verify()
            if self.kills % self.args.check_every == 0 or self.kills == self.args.kills:
                self.check_offline()
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(self.line(), flush=True)

    def strike(self):
        struck = None
        if self.args.breaks != "chunk":
            struck = breaks.strike(self.args.breaks, self.shared, self.server.data, self.kills)
        else:
            upload = next((u for u in self.uploads if u.state == "open"), None)
            struck = upload and Client(self.server.port, USER).request("DELETE", upload.location).what
        print(f"BREAK {self.args.breaks}: {struck}", flush=True)

    def line(self):
        took = sorted(1000 * seconds for seconds, _ in self.reopened) or [0]
        return (f"kill: {self.kills} kills, {self.record.counts['acknowledged']} acknowledged operations, "
                f"{self.checked} checks of what they left, {self.lost_count} lost, {self.dangling} dangling, "
                f"{len(self.record.failures)} failures, reopening {took[len(took) // 2]:.0f} ms, at most {took[-1]:.0f} ms "
                f"({1000 * self.slowest():.0f} ms without waiting for a processor)")

    def slowest(self):
        return max((seconds - min(seconds, waited) for seconds, waited in self.reopened), default=0)


def main():
    args = arguments()
    home = tempfile.mkdtemp(prefix="dryport-kill.")
    for name in ("main", "upstream"):
        os.mkdir(f"{home}/{name}")
    kill = Kill(args, home)
    print(f"kill: seed {args.seed}, {args.kills} kills; log {kill.server.log}", flush=True)
    try:
        kill.run()
    except (RuntimeError, Gone) as e:
        kill.record.fail(str(e))
    finally:
        kill.server.kill()
        kill.upstream_server.kill()
    if kill.slowest() > 1 and not args.breaks:
        kill.record.fail("reopening took longer than a second")
    print("\n".join([f"  {n:>9} {what}" for what, n in sorted(kill.record.counts.items())] + kill.record.again()))
    print(kill.line())
    failed = bool(kill.record.failures)
    if args.breaks:
        print(f"BREAK {args.breaks}: {'noticed' if failed else 'NOT NOTICED'}")
    if (failed and not args.breaks) or args.keep:
        print(f"kept: {home}")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return int(failed != bool(args.breaks))


if __name__ == "__main__":
    sys.exit(main())
