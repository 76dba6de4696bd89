"""One client of the load: every operation, each answer judged by the ledger.

Owns the operations and which one comes next. A client relies on what the protocol lets it rely on: what was
acknowledged and what a HEAD said lately; so it deletes, moves and pushes beside others over the same content.
"""

import random
import threading
import time

from client import Client, Gone, sha256
from ledger import deleted_since

# How often each operation is chosen.
WEIGHTS = {
    "push image": 20, "push index": 6, "retag": 9, "attach": 8, "mount": 5, "revive": 14, "pull": 20, "list": 5,
    "delete tag": 9, "delete manifest": 4, "delete blob": 7, "cancel upload": 1,
}

# Seconds after which content is wanted again: at once, before, about when, and after the collector took it.
RESTS = (0, 0, 0, 5, 7, 9, 12, 16, 21)


class Shared:
    """What all clients of a run have in common."""

    def __init__(self, port, user, pool, ledger, record, repos, tags):
        self.port, self.user, self.pool, self.ledger, self.record = port, user, pool, ledger, record
        self.repos, self.tags, self.stop = list(repos), list(tags), threading.Event()
        self.owners = threading.Lock()


class Worker(threading.Thread):
    """A thread with one connection. With `mortal` a broken connection ends it: the server was killed."""

    def __init__(self, shared, seed, weights=None, mortal=False):
        super().__init__(daemon=True)
        self.shared, self.pool, self.ledger, self.record = shared, shared.pool, shared.ledger, shared.record
        self.rng, self.mortal, self.open, self.relied = random.Random(seed), mortal, [], {}
        self.client = Client(shared.port, shared.user, self.saw)
        self.weights = weights or WEIGHTS

    def run(self):
        names, weights = list(self.weights), list(self.weights.values())
        while not self.shared.stop.is_set():
            name = self.rng.choices(names, weights)[0]
            try:
                getattr(self, name.replace(" ", "_"))()
                self.record.count(name)
            except Gone as e:
                for event in self.open:
                    event.maybe()
                if self.mortal:
                    break
                self.fail(f"no whole answer in {name}: {e}")
            self.open.clear()
            self.relied.clear()
        self.client.close()

    # ---- judging -------------------------------------------------------------------------------------------------

    def saw(self, reply):
        self.record.reply(reply)
        if reply.status in (201, 202, 204) and not reply.what.startswith("GET"):
            self.record.count("acknowledged")
        if reply.status >= 500 or reply.status in (401, 403, 408, 429):
            self.fail(f"{reply.what}: {reply.status} {reply.body[:300]!r}")

    def fail(self, text, repo=None, digest=None):
        where = "\n    " + self.ledger.describe(repo, digest) if digest else ""
        self.record.fail(text + where)

    def wrong(self, reply, repo=None, digest=None):
        """An answer that the state cannot explain."""
        if reply.status < 500:  # Those are counted already.
            request = reply.header("X-Request-Id")
            span = f"[{reply.start:.3f}, {reply.end:.3f}]"
            self.fail(f"{reply.what}: {reply.status} {reply.code()} {span} {request}", repo, digest)

    def begin(self, event):
        self.open.append(event)
        return event

    def begin_put(self, repo, digest):
        event = self.begin(self.ledger.put(repo, digest))
        self.relied[(repo, digest)] = event.start
        return event

    def absent(self, reply, repo, digest):
        """A 404 for this manifest or blob: nothing may hold it."""
        if self.ledger.covered(repo, digest, reply.start, reply.end):
            self.wrong(reply, repo, digest)

    def present(self, reply, repo, digest):
        if not self.ledger.may_be_there(repo, digest, reply.start, reply.end):
            self.wrong(reply, repo, digest)

    # ---- reading -------------------------------------------------------------------------------------------------

    def read_tag(self, repo, tag):
        """GET by tag; the pool's manifest, or None."""
        reply = self.client.get(f"/v2/{repo}/manifests/{tag}")
        values = self.ledger.tag_values(repo, tag, reply.start, reply.end)
        if reply.status == 404:
            if None not in values:
                self.wrong(reply, repo, next(iter(values)))
            return None
        digest = sha256(reply.body)
        if reply.status != 200 or reply.header("Docker-Content-Digest") != digest or digest not in values:
            self.fail(f"{reply.what}: {reply.status} {digest}, but it may only mean {values}; "
                      f"[{reply.start:.3f}, {reply.end:.3f}] {self.ledger.tags.get((repo, tag), [])[-6:]}")
            return None
        return self.pool.manifests.get(digest)

    def read(self, repo, what, digest):
        """GET by digest of a manifest or blob, some by range; judged; whether it is there."""
        path, size = f"/v2/{repo}/{what}/{digest}", len(self.pool.blobs.get(digest, b""))
        if what == "blobs" and size > 100 and self.rng.random() < 0.15:
            first = self.rng.randrange(size - 1)
            reply = self.client.request("GET", path, {"Range": f"bytes={first}-"})
            right = reply.status == 206 and reply.body == self.pool.blobs[digest][first:]
        else:
            reply = self.client.get(path)
            right = reply.status == 200 and sha256(reply.body) == digest
        if reply.status == 404:
            self.absent(reply, repo, digest)
        elif not right:
            self.fail(f"{reply.what}: {reply.status}, {len(reply.body)} bytes that are not the content", repo, digest)
        else:
            self.present(reply, repo, digest)
        return right

    def head(self, repo, what, digest):
        """HEAD: whether it is there, so that the client need not push it."""
        reply = self.client.head(f"/v2/{repo}/{what}/{digest}")
        if reply.status == 200:
            self.present(reply, repo, digest)
            self.ledger.confirm(repo, digest, reply)
            self.relied[(repo, digest)] = reply.start
            return True
        if reply.status == 404:
            self.absent(reply, repo, digest)
        else:
            self.wrong(reply, repo, digest)
        return False

    # ---- pushing -------------------------------------------------------------------------------------------------

    def upload(self, repo, digest, location=None):
        """Uploads a blob in one of the ways that clients use."""
        data, ways = self.pool.blobs[digest], ["whole", "put", "chunks", "stream"]
        way = self.rng.choice(ways[1:] if location else ways)
        if way == "whole":
            event = self.begin_put(repo, digest)
            return self.created(self.client.post_whole(repo, digest, data), event, repo, digest)
        if location is None:
            reply = self.client.begin(repo)
            if reply.status != 202:
                return self.wrong(reply)
            location = reply.location()
        sent = 0
        if way == "stream":
            pieces = [data[i : i + 50_000] for i in range(0, len(data), 50_000)]
            reply = self.client.request("PATCH", location, {"Content-Type": "application/octet-stream"}, iter(pieces))
            sent = len(data)
        while way == "chunks" and sent < len(data) * 2 // 3:
            reply = self.client.patch(location, sent, data[sent : sent + len(data) // 3 + 1])
            sent += len(data) // 3 + 1
            location = reply.location() or location
        if sent and (reply.status != 202 or reply.header("Range") != f"0-{min(sent, len(data)) - 1}"):
            return self.wrong(reply, repo, digest)
        event = self.begin_put(repo, digest)
        return self.created(self.client.finish(location, digest, data[sent:]), event, repo, digest)

    def created(self, reply, event, repo, digest):
        if reply.status == 201 and reply.header("Docker-Content-Digest") == digest:
            event.done(reply)
            self.record.count("bytes pushed", len(self.pool.blobs[digest]))
            return
        event.void()
        self.wrong(reply, repo, digest)

    def mount_from(self, repo, digest, source):
        """Mounts from a repository, or (None) from any; uploads where the server declines."""
        event = self.begin_put(repo, digest)
        reply = self.client.mount(repo, digest, source)
        sources = [source] if source else self.shared.repos
        if reply.status == 201:
            if not any(self.ledger.may_be_there(s, digest, reply.start, reply.end) for s in sources):
                self.wrong(reply, source, digest)
            event.done(reply)
            return self.record.count("mounted")
        event.void()
        if reply.status != 202:
            return self.wrong(reply, repo, digest)
        for s in sources:
            self.absent(reply, s, digest)
        return self.upload(repo, digest, reply.location())

    def ensure(self, repo, digest, skip=True):
        """The blob is there afterwards: found by HEAD and skipped, mounted, or uploaded."""
        if skip and self.rng.random() < 0.75 and self.head(repo, "blobs", digest):
            return self.record.count("skipped after HEAD")
        if self.rng.random() < 0.25:
            other = self.rng.choice(self.shared.repos)
            return self.mount_from(repo, digest, None if self.rng.random() < 0.4 or other == repo else other)
        return self.upload(repo, digest)

    def put(self, repo, manifest, tag=None):
        """PUT of a manifest; whether it was taken. A refusal must name content that nothing held."""
        event = self.begin_put(repo, manifest.digest)
        mark = self.begin(self.ledger.tag(repo, tag, manifest.digest)) if tag else None
        reply = self.client.put_manifest(repo, tag or manifest.digest, manifest.media_type, manifest.data)
        parts = (*manifest.blobs, *manifest.children)
        if reply.status == 201:
            for part in parts:
                self.present(reply, repo, part)
            event.done(reply)
            if mark:
                mark.done(reply)
            if reply.header("OCI-Subject") != (manifest.subject or ""):
                self.wrong(reply, repo, manifest.digest)
            return True
        event.void()
        if mark:
            mark.void()
        missing = reply.missing()
        if reply.code() != "MANIFEST_BLOB_UNKNOWN" or not missing or not set(missing) <= set(parts):
            self.wrong(reply, repo, manifest.digest)
        for part in missing:
            self.absent(reply, repo, part)
        self.record.count("refused: " + self.reason(repo, missing, reply))
        return False

    def reason(self, repo, missing, reply):
        """Why a refusal that the ledger allows came about: what this client relied on, and what became of it."""
        for part in missing:
            since = self.relied.get((repo, part))
            if since is None:
                return "a part was gone already"
            with self.ledger.lock:
                if deleted_since(self.ledger.item(repo, part), since, reply.end):
                    return "another client deleted a part"
        return "this client was slower than the lease"

    def push(self, repo, manifest, tag=None):
        """Pushes a manifest with all it needs, as docker and crane do; begins again if others deleted parts of it."""
        for attempt in range(4):
            for child in manifest.children:
                if attempt or not self.head(repo, "manifests", child):
                    self.push(repo, self.pool.manifests[child])
            for blob in manifest.blobs:
                self.ensure(repo, blob, skip=attempt == 0)
            if self.put(repo, manifest, tag):
                return True
            self.record.count("pushes begun again")
        self.record.count("pushes given up")
        return False

    # ---- choosing ------------------------------------------------------------------------------------------------

    def repo(self):
        return self.rng.choice(self.shared.repos)

    def tag(self):
        return self.rng.choice(self.shared.tags)

    def some(self, family):
        """Mostly of a window that moves on, or of where it was some seconds ago: content rests and comes back."""
        if self.rng.random() < 0.1:
            return self.rng.choice(family)
        window = int((time.monotonic() - self.rng.choice(RESTS)) / 1.5) * 8
        return family[(window + self.rng.randrange(9)) % len(family)]

    # ---- operations ----------------------------------------------------------------------------------------------

    def push_image(self):
        self.push(self.repo(), self.some(self.pool.images), self.tag() if self.rng.random() < 0.6 else None)

    def push_index(self):
        self.push(self.repo(), self.some(self.pool.indexes), self.tag() if self.rng.random() < 0.7 else None)

    def retag(self):
        repo = self.repo()
        manifest = self.read_tag(repo, self.tag())
        if manifest:
            self.put(repo, manifest, self.tag())

    def attach(self):
        repo, artifact = self.repo(), self.rng.choice(self.pool.artifacts)
        if not self.head(repo, "manifests", artifact.subject) and self.rng.random() < 0.7:
            self.push(repo, self.pool.manifests[artifact.subject], self.tag())
        self.push(repo, artifact)

    def mount(self):
        repo, other = self.rng.sample(self.shared.repos, 2)
        blob = self.rng.choice(self.some(self.pool.images).blobs)
        self.mount_from(repo, blob, None if self.rng.random() < 0.4 else other)

    def pull(self):
        repo, top = self.repo(), None
        top = self.read_tag(repo, self.tag())
        todo, seen = [top] if top else [], 0
        while todo:
            manifest = todo.pop()
            for child in manifest.children:
                if self.read(repo, "manifests", child):
                    todo.append(self.pool.manifests[child])
            for blob in manifest.blobs:
                seen += self.read(repo, "blobs", blob)
        self.record.count("blobs pulled", seen)

    def list(self):
        repo = self.repo()
        if self.rng.random() < 0.5:
            return self.list_tags(repo)
        subject = self.rng.choice(list(self.pool.referrers))
        reply = self.client.get(f"/v2/{repo}/referrers/{subject}")
        if reply.status != 200:
            return self.wrong(reply, repo, subject)
        listed = {d["digest"] for d in reply.json()["manifests"]}
        for digest in listed:
            self.present(reply, repo, digest)
        for digest in set(self.pool.referrers[subject]) - listed:
            self.absent(reply, repo, digest)
        return None

    def list_tags(self, repo):
        reply = self.client.get(f"/v2/{repo}/tags/list?n=1000")
        listed = (reply.json().get("tags") or []) if reply.status == 200 else []
        if listed != sorted(listed):
            self.wrong(reply)
        for tag in self.shared.tags:
            values = self.ledger.tag_values(repo, tag, reply.start, reply.end)
            if not (values - {None} if tag in listed else None in values):
                self.fail(f"{reply.what}: {tag} is {'' if tag in listed else 'not '}listed; it may mean {values}")

    def delete_tag(self):
        repo, tag = self.repo(), self.tag()
        event = self.begin(self.ledger.tag(repo, tag, None))
        reply = self.client.request("DELETE", f"/v2/{repo}/manifests/{tag}")
        if reply.status == 202:
            if not self.ledger.tag_values(repo, tag, reply.start, reply.end) - {None}:
                self.wrong(reply)
            return event.done(reply)
        event.void()
        if reply.status != 404 or None not in self.ledger.tag_values(repo, tag, reply.start, reply.end):
            self.wrong(reply)
        return None

    def delete_manifest(self):
        repo = self.repo()
        manifest = self.some(self.rng.choice([self.pool.images, self.pool.indexes, self.pool.artifacts]))
        self.delete(repo, "manifests", manifest.digest)

    def delete_blob(self):
        self.delete(self.repo(), "blobs", self.rng.choice(self.some(self.pool.images).blobs))

    def delete(self, repo, what, digest):
        event = self.begin(self.ledger.delete(repo, digest))
        reply = self.client.request("DELETE", f"/v2/{repo}/{what}/{digest}")
        with self.ledger.lock:
            event.void()
            if reply.status == 202:
                self.present(reply, repo, digest)
                if what == "blobs" and self.ledger.needed(repo, digest, reply.start, reply.end):
                    self.wrong(reply, repo, digest)
                event.done(reply)
                self.record.count(f"{what} deleted")
            elif reply.status == 404:
                self.absent(reply, repo, digest)
            elif what == "blobs" and reply.status == 405:
                if not any(self.ledger.may_be_there(repo, parent, reply.start, reply.end)
                           for parent in self.pool.parents[digest]):
                    self.wrong(reply, repo, digest)
            else:
                self.wrong(reply, repo, digest)

    def cancel_upload(self):
        repo, data = self.repo(), self.rng.randbytes(20_000)
        location = self.client.begin(repo).location()
        if self.rng.random() < 0.7:
            location = self.client.patch(location, 0, data).location()
        for method, wanted in (("DELETE", 204), ("GET", 404)):
            reply = self.client.request(method, location)
            if reply.status != wanted:
                self.wrong(reply)

    # ---- what is about to be collected ---------------------------------------------------------------------------

    def revive(self):
        """Waits until the collector is about to take something, and then wants it again."""
        found = self.fading()
        if found is None:
            return self.push_image()
        until, repo, digest = found
        time.sleep(max(0.0, min(2.5, until - time.monotonic() + self.rng.uniform(-0.4, 1.3))))
        self.record.count("revived")
        tag = self.tag() if self.rng.random() < 0.5 else None
        if digest in self.pool.manifests and self.rng.random() < 0.5:
            manifest = self.pool.manifests[digest]
            if self.head(repo, "manifests", digest):
                self.put(repo, manifest, tag)
            return None
        above = self.pool.parents[digest] or [digest]
        wanted = self.pool.manifests.get(self.rng.choice(above))
        if wanted:
            self.push(repo, wanted, tag)
        return None

    def fading(self):
        """Something whose lease ends soon, or ended just now: (when, repository, digest)."""
        now, lease = time.monotonic(), self.ledger.lease
        with self.ledger.lock:
            keys = list(self.ledger.items)
            for repo, digest in self.rng.sample(keys, min(60, len(keys))):
                item = self.ledger.items[(repo, digest)]
                ends = [e.start + e.lease for e in (*item.puts, *item.confirms)]
                for tag in self.ledger.tagged.get((repo, digest), ()):
                    events = self.ledger.tags[(repo, tag)]
                    if events and events[-1].value != digest:
                        ends.append(events[-1].start + lease)
                until = max(ends, default=0)
                if now - 0.8 < until < now + 1.0:
                    return until, repo, digest
        return None
