"""What every client did and may rely on, and the judge of what a server may answer.

Each operation is an event with the times around its request; an event that overlaps another may come before or after
it, every other order is certain. So an answer is wrong only if no order of the events explains it:

* a tag means one of the values that some order leaves in it (`tag_values`);
* a manifest or blob must be there (`covered`) while something certain holds it: a lease (a push or mount: the whole
  lease; a HEAD that said 200: half of it), a tag, a manifest that contains it and is itself held, or, for a referrer,
  its subject. A tag that moves or goes leaves the manifest held for one more lease, as does a deleted manifest its
  blobs: pulls that began before rely on it. A delete by a client that may have come later ends all of it;
* a manifest or blob must not be there (`may_be_there`) if a client deleted it and nobody pushed it after that. What
  nobody deleted may be there or not once nothing holds it: the collector decides.

Owns events and judgement. Must not send requests. Times are monotonic seconds; all methods are safe between threads.
"""

import threading
import time

INF = float("inf")
PENDING, DONE, VOID, MAYBE = "pending", "done", "void", "maybe"
# No request lives longer than this (client.TIMEOUT and a little): older events can be forgotten once superseded.
FORGET = 35.0
MARGIN = 0.25


class Event:
    """One write. Its value is a digest or None (a tag), True or False (a manifest or blob). `only` is the digest that a
    manifest's delete takes out of tags; `lease` is how long it holds; `kept`: the thing was certainly there before."""

    __slots__ = ("start", "end", "value", "state", "only", "lease", "kept")

    def __init__(self, value, lease=0.0, only=None):
        self.start, self.end, self.state = time.monotonic(), INF, PENDING
        self.value, self.lease, self.only, self.kept = value, lease, only, False

    def done(self, reply=None):
        self.end, self.state = (reply.end if reply else time.monotonic()), DONE

    def void(self):
        """The server refused: nothing happened."""
        self.end, self.state = time.monotonic(), VOID

    def maybe(self):
        """No answer came: it happened until now, or not at all."""
        if self.state == PENDING:
            self.end, self.state = time.monotonic(), MAYBE

    def __repr__(self):
        return f"{self.state} {str(self.value)[:19]} [{self.start:.3f}, {self.end:.3f}] lease {self.lease:.1f}"


class Item:
    """A manifest or blob of one repository."""

    __slots__ = ("puts", "deletes", "confirms", "born")

    def __init__(self):
        self.puts, self.deletes, self.confirms, self.born = [], [], [], -INF


class Ledger:
    """`lease` in seconds, as the server has it."""

    def __init__(self, pool, lease):
        self.pool, self.lease, self.lock = pool, lease, threading.RLock()
        self.tags, self.items, self.tagged = {}, {}, {}

    # ---- writing down --------------------------------------------------------------------------------------------

    def item(self, repo, digest):
        found = self.items.get((repo, digest))
        if found is None:
            found = self.items[(repo, digest)] = Item()
        return found

    def put(self, repo, digest):
        """A push or mount of a manifest or blob begins."""
        with self.lock:
            event, item = Event(True, self.lease), self.item(repo, digest)
            event.kept = self.covered(repo, digest, event.start, event.start)
            item.puts.append(event)
            forget_item(item)
            return event

    def confirm(self, repo, digest, reply):
        """A HEAD said 200: half a lease is left at least."""
        with self.lock:
            event = Event(True, self.lease / 2)
            event.start = reply.start
            event.done(reply)
            self.item(repo, digest).confirms.append(event)

    def tag(self, repo, tag, digest):
        """A tag is about to mean `digest`, or to go (None)."""
        with self.lock:
            event, events = Event(digest), self.tags.setdefault((repo, tag), [])
            events.append(event)
            if digest:
                self.tagged.setdefault((repo, digest), set()).add(tag)
                # A delete of the manifest that is under way may hit the tag, too.
                events.extend(d for d in self.item(repo, digest).deletes
                              if d.state != VOID and d.end >= event.start and d not in events)
            forget_tag(events)
            return event

    def delete(self, repo, digest):
        """A delete of a manifest or blob begins; a manifest's takes its tags along."""
        with self.lock:
            event, item = Event(False, only=digest), self.item(repo, digest)
            item.deletes.append(event)
            forget_item(item)
            for tag in self.tagged.get((repo, digest), ()):
                self.tags[(repo, tag)].append(event)
            return event

    # ---- tags ----------------------------------------------------------------------------------------------------

    def tag_values(self, repo, tag, start, end):
        """Every digest, and None, that the tag may have meant at some time of the interval."""
        with self.lock:
            events = [e for e in self.tags.get((repo, tag), ()) if e.state != VOID]
            writes = [e for e in events if e.only is None]
            values = set() if any(between(f, -INF, start) for f in writes) else {None}
            for e in writes:
                if e.start > end or any(between(f, e.end, start) for f in writes):
                    continue
                deletes = [d for d in events if e.value and d.only == e.value and not d.end < e.start]
                if not any(between(d, e.end, start) for d in deletes):
                    values.add(e.value)
                if any(d.start <= end for d in deletes):
                    values.add(None)
            return values

    # ---- manifests and blobs -------------------------------------------------------------------------------------

    def may_be_there(self, repo, digest, start, end):
        with self.lock:
            item = self.items.get((repo, digest))
            if item is None:
                return False
            for p in item.puts:
                if p.state != VOID and p.start <= end and not any(between(d, p.end, start) for d in item.deletes):
                    return True
            return False

    def covered(self, repo, digest, start, end, depth=0):
        """Whether something certain holds the manifest or blob through the whole interval."""
        with self.lock:
            item = self.items.get((repo, digest))
            if item is None or depth > 4:
                return False
            return (self.by_lease(item, start, end) or self.by_tag(repo, digest, item, start, end)
                    or self.by_parent(repo, digest, item, start, end, depth)
                    or self.by_subject(repo, digest, item, start, end, depth))

    def needed(self, repo, digest, start, end):
        """Whether a manifest that is certainly there contains the blob: then it cannot be deleted."""
        with self.lock:
            item = self.items.get((repo, digest))
            return item is not None and self.by_parent(repo, digest, item, start, end, 0, grace=False)

    @staticmethod
    def by_lease(item, start, end):
        for e in (*item.puts, *item.confirms):
            if e.state == DONE and e.end <= start and e.start + e.lease - MARGIN >= end:
                if not deleted_since(item, e.start, end):
                    return True
        return False

    def by_tag(self, repo, digest, item, start, end):
        for tag in self.tagged.get((repo, digest), ()):
            events = self.tags.get((repo, tag), ())
            for p in events:
                if p.value != digest or p.state != DONE or p.end > start or deleted_since(item, p.start, end):
                    continue
                moved = min((f.start for f in events if f.state != VOID and f.value != digest and not f.end < p.start
                             and f.only in (None, digest)), default=INF)
                if end <= moved + self.lease - MARGIN or end <= moved:
                    return True
        return False

    def by_parent(self, repo, digest, item, start, end, depth, grace=True):
        for parent in self.pool.parents.get(digest, ()):
            above = self.items.get((repo, parent))
            pushed, own = last_put(above, start), last_put(item, start)
            # The parent's last push found this part there (a settled one did not look); only a client's delete can
            # have taken it since, and a push of its own brought it back.
            if pushed is None or (own is None and not pushed.lease):
                continue
            if deleted_since(item, max(pushed.start, own.start if own else -INF), end):
                continue
            if self.covered(repo, parent, start, end, depth + 1):
                return True
            if not grace:
                continue
            gone = min((d.start for d in above.deletes if d.state != VOID and not d.end < pushed.start), default=INF)
            if digest in self.pool.blobs and pushed.end < gone and end <= gone + self.lease - MARGIN:
                if self.covered(repo, parent, gone - 1e-6, gone - 1e-6, depth + 1):
                    return True
        return False

    def by_subject(self, repo, digest, item, start, end, depth):
        manifest = self.pool.manifests.get(digest)
        if manifest is None or manifest.subject is None:
            return False
        pushed = last_put(item, start)
        subject = self.items.get((repo, manifest.subject))
        if pushed is None or subject is None or deleted_since(item, pushed.start, end):
            return False
        # While the subject was away the referrer may have been collected: it must have been there ever since.
        born = max([subject.born, *(p.end for p in subject.puts if not p.kept and p.state != VOID)])
        if born >= pushed.start or deleted_since(subject, pushed.start, end):
            return False
        return self.covered(repo, manifest.subject, start, end, depth + 1)

    # ---- crashes -------------------------------------------------------------------------------------------------

    def broken_off(self):
        """The server was killed: what has no answer happened before now, or not at all."""
        with self.lock:
            for events in self.tags.values():
                for e in events:
                    e.maybe()
            for item in self.items.values():
                for e in (*item.puts, *item.deletes):
                    e.maybe()

    def settle_tag(self, repo, tag, digest, reply):
        """After a restart, with nobody writing: the tag was found to mean this, so from now on it must."""
        with self.lock:
            event = Event(digest)
            event.start, event.end, event.state = reply.start, reply.end, DONE
            self.tags[(repo, tag)] = [event]
            for (where, what), tags in list(self.tagged.items()):
                if where == repo and what != digest:
                    tags.discard(tag)
            if digest:
                self.tagged.setdefault((repo, digest), set()).add(tag)

    def settle_item(self, repo, digest, there, reply):
        """The same for a manifest or blob; leases that still run stay."""
        with self.lock:
            item, now = self.item(repo, digest), Event(there)
            now.start, now.end, now.state, now.kept = reply.start, reply.end, DONE, there
            if there:
                item.puts = [p for p in item.puts if p.state == DONE and p.start + p.lease > reply.end] + [now]
                item.confirms = [c for c in item.confirms if c.start + c.lease > reply.end]
            else:
                item.puts, item.confirms = [], []
            item.deletes = []
            if not there:
                self.items.pop((repo, digest))

    def describe(self, repo, digest):
        """The events of a manifest or blob and of what may hold it, for a failure's report."""
        with self.lock:
            item = self.items.get((repo, digest)) or Item()
            manifest = self.pool.manifests.get(digest)
            lines = [f"{manifest.kind if manifest else 'blob'}; now {time.monotonic():.3f}; puts {item.puts[-3:]} confirms {item.confirms[-2:]} deletes {item.deletes[-3:]}"]
            for tag in sorted(self.tagged.get((repo, digest), ())):
                lines.append(f"tag {tag}: {self.tags.get((repo, tag), [])[-4:]}")
            for parent in self.pool.parents.get(digest, ()):
                above = self.items.get((repo, parent))
                if above and above.puts:
                    tags = {t: self.tags.get((repo, t), [])[-3:] for t in self.tagged.get((repo, parent), ())}
                    lines.append(f"parent {parent[:19]}: puts {above.puts[-2:]} deletes {above.deletes[-2:]} tags {tags}")
            if manifest and manifest.subject:
                subject = self.items.get((repo, manifest.subject)) or Item()
                tags = {t: self.tags.get((repo, t), [])[-3:] for t in self.tagged.get((repo, manifest.subject), ())}
                lines.append(f"subject {manifest.subject[:19]}: puts {subject.puts[-2:]} deletes {subject.deletes[-2:]} tags {tags}")
            return "\n    ".join(lines)


def between(f, after, before):
    """Whether `f` certainly happened, after the one time and before the other."""
    return f.state == DONE and f.start > after and f.end < before


def deleted_since(item, since, until):
    """Whether a client's delete may have come between."""
    return any(d.state != VOID and d.start <= until and not d.end < since for d in item.deletes)


def last_put(item, before):
    done = [p for p in item.puts if p.state == DONE and p.end <= before] if item else ()
    return max(done, key=lambda p: p.start, default=None)


def forget_tag(events):
    """Drops events that can explain no answer any more."""
    if len(events) < 12:
        return
    old = time.monotonic() - FORGET
    over = [f for f in events if between(f, -INF, old)]
    writes = [e for e in events if e.only is None and e.state != VOID
              and not any(f.start > e.end and f.only in (None, e.value) for f in over)]
    events[:] = writes + [d for d in events if d.only and d.state != VOID
                          and any(e.value == d.only and e.start <= d.end for e in writes)]


def forget_item(item):
    if len(item.puts) + len(item.deletes) + len(item.confirms) < 12:
        return
    old = time.monotonic() - FORGET
    puts = [p for p in item.puts if p.state == DONE and p.end < old]
    newest = max((p.start for p in puts), default=-INF)
    deleted = max((d.start for d in item.deletes if d.state == DONE and d.end < old), default=-INF)
    for p in item.puts:
        if p.end < newest and not p.kept and p.state != VOID:
            item.born = max(item.born, p.end)
    item.puts = [p for p in item.puts if p.state != VOID and not p.end < newest]
    item.deletes = [d for d in item.deletes if d.state != VOID and not d.end < max(newest, deleted)]
    confirmed = max((c.start for c in item.confirms if c.end < old), default=-INF)
    item.confirms = [c for c in item.confirms if not c.end < confirmed and c.start + c.lease > old]
