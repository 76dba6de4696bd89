"""The load of kill.py beside the clients of workload.py: mirroring, restoring, sweeping, and uploads that outlive kills.

Each thread ends by itself when the server is gone; what has no answer then is left as MAYBE in the ledger. The commands
are killed together with the server, so that none works on the data directory while the next server opens it.
"""

import json
import random
import subprocess
import threading
import time

from client import Gone, received, sha256
from workload import Worker

CHUNK = 60_000


def closure(pool, digest):
    """A manifest and all that is below it: (digests of manifests, digests of blobs)."""
    manifests, blobs, todo = [], set(), [digest]
    while todo:
        manifest = pool.manifests[todo.pop()]
        manifests.append(manifest.digest)
        blobs.update(manifest.blobs)
        todo.extend(manifest.children)
    return manifests, blobs


class Commands(threading.Thread):
    """Runs `dryport` commands one after the other; `steps` are names of methods."""

    def __init__(self, run, seed, steps):
        super().__init__(daemon=True)
        self.run_, self.ledger, self.pool, self.record = run, run.ledger, run.pool, run.record
        self.rng, self.steps, self.process = random.Random(seed), steps, None
        self.worker = Worker(run.shared, f"{seed}/api", mortal=True)

    def run(self):
        while not self.run_.shared.stop.is_set():
            try:
                getattr(self, self.rng.choice(self.steps))()
            except Gone:
                return
            self.worker.open.clear()

    def command(self, *words):
        """Exit code and standard output; None where the server was killed meanwhile."""
        server = self.run_.server
        self.process = subprocess.Popen([server.binary, *words, "--data", server.data], env=server.env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.run_.shared.stop.is_set():
            self.process.kill()
        out, err = self.process.communicate()
        if self.run_.doomed.is_set():  # Set before the kill: a command may see the end of the server first.
            return (0, out, err) if self.process.returncode == 0 else None
        return self.process.returncode, out, err

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()

    def hold(self, repo, tag, digest):
        """Begins what makes the tag and everything below it."""
        manifests, blobs = closure(self.pool, digest)
        events = [self.ledger.put(repo, part) for part in (*manifests, *blobs)]
        return [*events, self.ledger.tag(repo, tag, digest)]

    def settle(self, events, done):
        for event in events:
            if done is None:
                event.maybe()
            elif done[0] == 0:
                event.done()
            else:
                event.void()

    def mirror(self):
        tag, digest = self.rng.choice(list(self.run_.upstream.items()))
        events = self.hold(self.run_.mirror_repo, tag, digest)
        source = f"docker://127.0.0.1:{self.run_.upstream_server.port}/up/app:{tag}"
        done = self.command("mirror", source, "--to", self.run_.mirror_repo, "--json")
        if done and done[0] != 0:
            self.record.fail(f"mirror {source}: exit {done[0]}: {done[2][:500]}")
            done = None
        self.settle(events, done)
        if done:
            self.record.count("acknowledged")
            self.record.count("mirror runs")

    def unmirror(self):
        """Takes mirrored content away, so that there is something to mirror."""
        tag, digest = self.rng.choice(list(self.run_.upstream.items()))
        self.worker.delete(self.run_.mirror_repo, "manifests", digest)

    def gc(self):
        done = self.command("gc", "--json")
        if done and done[0] != 0:
            self.record.fail(f"gc: exit {done[0]}: {done[2][:500]}")
        elif done:
            self.record.count("sweeps asked for")
            self.record.count("freed blobs in those sweeps", json.loads(done[1]).get("freed_blobs", 0))

    def restore(self):
        repo, tag = self.rng.choice(self.run_.shared.repos), self.rng.choice(self.run_.shared.tags)
        done = self.command("tag", "history", f"{repo}:{tag}", "--json")
        if not done or done[0] != 0:
            return
        past = [entry for entry in json.loads(done[1])[1:8] if entry["digest"] in self.pool.manifests]
        if not past:
            return
        entry = self.rng.choice(past)
        events = self.hold(repo, tag, entry["digest"])
        done = self.command("tag", "restore", f"{repo}:{tag}", "--rev", str(entry["rev"]))
        if done and done[0] not in (0, 1, 3):
            self.record.fail(f"tag restore {repo}:{tag} --rev {entry['rev']}: exit {done[0]}: {done[2][:500]}")
        self.settle(events, done)
        if done:
            self.record.count("restored" if done[0] == 0 else "restores refused: not kept any more")
            self.record.count("acknowledged", done[0] == 0)


class Upload:
    """One upload in chunks, over as many lives of the server as it takes."""

    def __init__(self, repo, location, data):
        self.repo, self.location, self.data, self.digest = repo, location, data, sha256(data)
        self.acked, self.sent, self.state, self.lives = 0, 0, "open", 0


class Chunks(Worker):
    """Appends to the open uploads; finishes some, cancels few."""

    def __init__(self, run, seed):
        super().__init__(run.shared, seed, {"step": 1}, mortal=True)
        self.uploads = run.uploads

    def step(self):
        time.sleep(0.01)
        mine = [u for u in self.uploads if u.state == "open"]
        if len(mine) < 6:
            repo, data = self.repo(), self.rng.randbytes(self.rng.randint(2, 9) * CHUNK)
            reply = self.client.begin(repo)
            if reply.status != 202:
                return self.wrong(reply)
            upload = Upload(repo, reply.location(), data)
        else:
            upload = self.rng.choice(mine)
        if upload.acked == len(upload.data):
            return self.close(upload)
        if self.rng.random() < 0.03 and upload.acked:
            return self.cancel(upload)
        chunk = upload.data[upload.acked : upload.acked + CHUNK]
        upload.sent = upload.acked + len(chunk)
        reply = self.client.patch(upload.location, upload.acked, chunk)
        if reply.status != 202 or received(reply) != upload.sent:
            upload.state = "over"
            return self.wrong(reply, upload.repo, upload.digest)
        upload.acked, upload.location = upload.sent, reply.location()
        if upload not in self.uploads:
            self.uploads.append(upload)  # From its first acknowledged chunk on it must outlive a kill.
        return None

    def close(self, upload):
        upload.state, upload.closing = "closing", time.monotonic()
        event = self.begin(self.ledger.put(upload.repo, upload.digest))
        reply = self.client.finish(upload.location, upload.digest)
        upload.state = "over"
        if reply.status != 201:
            event.void()
            return self.wrong(reply, upload.repo, upload.digest)
        event.done(reply)
        return self.record.count("uploads finished over two lives or more" if upload.lives else "uploads finished in one life")

    def cancel(self, upload):
        upload.state = "cancelling"
        reply = self.client.request("DELETE", upload.location)
        upload.state = "over"
        if reply.status != 204:
            self.wrong(reply)


def check_uploads(run, client):
    """After a restart: what was acknowledged of each upload is there; gives how many were looked at."""
    looked = 0
    for upload in [u for u in run.uploads if u.state != "over"]:
        looked, upload.lives = looked + 1, upload.lives + 1
        reply = client.get(upload.location)
        if reply.status == 204 and upload.acked <= received(reply) <= upload.sent:
            if upload.state == "closing":
                run.record.count("closing puts cut off before the commit: the upload goes on")
            upload.acked, upload.state = received(reply), "open"
            continue
        there = (reply.status == 404 and upload.state == "closing"
                 and client.get(f"/v2/{upload.repo}/blobs/{upload.digest}"))
        if there and there.status == 200:
            run.record.count("closing puts cut off after the commit: the blob is there")
        elif there and there.end - upload.closing > run.ledger.lease - 1:
            run.record.count("closing puts cut off: the blob's lease may have ended since")
        elif reply.status != 404 or upload.state != "cancelling":
            run.lost(f"upload {upload.location} ({upload.state}): {reply.status} Range {reply.header('Range')}, "
                     f"{upload.acked} bytes were acknowledged, {upload.sent} sent")
        upload.state = "over"
    run.uploads[:] = [u for u in run.uploads if u.state != "over"]
    return looked
