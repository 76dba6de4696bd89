"""Attacks by who pushes: slow, huge, announced, never ended, and until the disk is full.

Each gets the running attack, does its worst, notes what it saw and demands what must hold. Their bounds are in abuse.py.
"""

import hashlib
import json
import os
import socket
import time

from client import OCI_MANIFEST, Client, sha256
from server import USER
from siege import MIB, authorization, close, connect, counted, crowd, head, status_of, threads


def slow_bodies(a):
    """Uploads that come a byte at a time."""
    begin = head("POST", f"/v2/slow/app/blobs/uploads/?digest={sha256(b'x')}", authorization(), "Content-Length: 1000000")
    sockets = crowd(a.server.port, min(900, a.size(900)), begin)
    a.feed(sockets, b"a", 1.0)
    a.hold(sockets, "closed by serve.progress")


def full_pieces(a):
    """Uploads that send much and then stop, each with as much of the server's memory as it can get."""
    begin = head("POST", f"/v2/slow/app/blobs/uploads/?digest={sha256(b'x')}", authorization(), "Content-Length: 100000000")
    data = os.urandom(MIB)

    def one(n):
        s = connect(a.server.port, n)
        s.sendall(begin + data)
        return s
    a.hold([s for s in threads(min(900, a.size(900)), one) if isinstance(s, socket.socket)], "closed by serve.progress")


def pushes(a):
    """64 whole pushes of 100 MB at once."""
    size, number = a.size(100_000_000), 64
    data = os.urandom(MIB)

    def one(n):
        hasher, left, salt = hashlib.sha256(), size, n.to_bytes(8, "big")
        pieces = [salt]
        while left > 0:
            pieces.append(data[:left])
            left -= len(data)
        for piece in pieces:
            hasher.update(piece)
        s = connect(a.server.port, n, 280)
        s.sendall(head("POST", f"/v2/push/app/blobs/uploads/?digest=sha256:{hasher.hexdigest()}", authorization(),
                       f"Content-Length: {size + 8}"))
        for piece in pieces:
            s.sendall(piece)
        status = status_of(s)
        s.close()
        return status
    begin = time.monotonic()
    results = threads(number, one)
    took = time.monotonic() - begin
    a.note(f"{counted(results)}, {number * size / took / 1e6:.0f} MB/s")
    a.demand(set(results) == {201}, "every push is taken")


def declared(a):
    """A blob of 100 GB is announced, and no byte of it sent."""
    begin = head("POST", f"/v2/slow/app/blobs/uploads/?digest={sha256(b'x')}", authorization(), "Content-Length: 100000000000")
    sockets = crowd(a.server.port, a.size(500), begin)
    time.sleep(2)
    a.settled(len(sockets))
    close(sockets)
    used = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(os.path.join(a.server.data, "uploads")) for f in files)
    a.note(f"{used} bytes on disk")
    a.demand(used == 0, "nothing is allocated for what was only announced")


def announced(a):
    """Chunks that announce 2^60 bytes, by their length and by their range, again and again for uploads with a piece each:
    they are refused, and the uploads neither hashed anew nor harmed."""
    piece, far = os.urandom(MIB), 1 << 60
    client, locations = Client(a.server.port, USER), []
    for _ in range(a.size(200)):
        location = client.begin("slow/app").location()
        a.demand(client.patch(location, 0, piece).status == 202, "a piece is taken")
        locations.append(location)
    rehashed = a.metric("dryport_uploads_rehashed_bytes_total")
    ways = [(f"Content-Length: {far}",), ("Transfer-Encoding: chunked", f"Content-Range: {MIB}-{far}")]

    def one(n):
        statuses, end = [], time.monotonic() + 20
        while time.monotonic() < end:
            n += 16
            method, location = ("PATCH", "PUT")[n // 2 % 2], locations[n % len(locations)]
            path = location if method == "PATCH" else f"{location}?digest={sha256(piece)}"
            s = connect(a.server.port, n, 30)
            # Half of them wait for leave to send: their refusals come at once.
            expect = ["Expect: 100-continue"] if n // 4 % 2 else []
            statuses.append(status_of(s, head(method, path, authorization(), *ways[n % 2], *expect)))
            s.close()
        return statuses
    results = [status for some in threads(16, one) for status in (some if isinstance(some, list) else [some])]
    a.note(counted(results))
    # Two of them for one upload at once: the second is told to come again.
    a.demand(set(results) <= {507, 409} and 507 in results, "each is refused")
    rehashed = a.metric("dryport_uploads_rehashed_bytes_total") - rehashed
    a.demand(rehashed == 0, f"nothing is hashed anew, not {rehashed:.0f} bytes")
    ended = {client.finish(location, sha256(piece)).status for location in locations}
    a.demand(ended == {201}, f"each upload can be ended all the same ({ended})")
    client.close()


def sessions(a):
    """Uploads that are begun and left."""
    def one(_):
        client = Client(a.server.port, USER)
        return [client.begin("flood/app").status for _ in range(a.size(500))]
    results = [status for some in threads(16, one) for status in (some if isinstance(some, list) else [some])]
    a.note(counted(results))
    a.demand(set(results) <= {202, 429}, "begun or refused with 429")
    a.demand(results.count(202) <= 4000, "no more than limits.uploads")


def full_disk(a):
    """A writer that goes on after the first refusal with ever smaller changes, until nothing is taken; others fill the rest of the
    disk; then it is freed by the documented steps, while the bystander pulls."""
    client, taken, n = Client(a.server.port, USER), [], 0

    def manifest(length):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": [], "n": n, "x": "a" * length}).encode()
        digest = sha256(body)
        return client.put_manifest("full/app", digest, OCI_MANIFEST, body), f"manifests/{digest}"

    def blob(length):
        data = n.to_bytes(8, "big") + os.urandom(length)
        return client.post_whole("full/app", sha256(data), data), f"blobs/{sha256(data)}"

    def tag(_):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": []}).encode()
        return client.put_manifest("full/app", f"t{n}", OCI_MANIFEST, body), f"manifests/t{n}"

    def mount(_):
        return client.mount(f"full/m{n}", a.config["digest"], "full/app"), None

    assert client.post_whole("full/app", a.config["digest"], b"{}").status == 201
    for number in range(a.size(1_000)):
        n = number
        answer, path = manifest(60_000)
        if answer.status == 201:
            taken.append(path)
    more, refusals, end = True, 0, time.monotonic() + 600
    changes = [(blob, 8 * MIB), (blob, MIB), (blob, 100_000), (manifest, 60_000), (manifest, 6_000), (manifest, 600), (manifest, 1),
               (tag, 0), (mount, 0), (blob, 1_000), (blob, 1)]
    while more:
        if time.monotonic() > end:
            a.demand(False, "there is an end to what is taken")
            break
        more = False
        for change, length in changes:
            while True:
                n += 1
                answer, path = change(length)
                if answer.status != 201 or time.monotonic() > end:
                    refusals += 1
                    clear = answer.status == 201 or answer.status == 507 and answer.code() == "DENIED" and b"the disk is full" in answer.body
                    a.demand(clear, f"a refusal says why: {answer.status} {answer.body[:200]}")
                    break
                more = True
                if path:
                    taken.append(path)
    a.demand(a.metric("dryport_store_reserve_owed_bytes") == 0, "no push is given any of the reserve")
    foreign = os.path.join(a.home, "foreign")
    with open(foreign, "wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    free = os.statvfs(a.home).f_bavail
    a.demand(free == 0, f"the disk is full to its last byte ({free} blocks are free)")
    answer, _ = tag(0)
    a.demand(answer.status == 507, f"a tag is refused, not {answer.status}")
    begin, failed = time.monotonic(), []
    for path in taken:
        answer = client.request("DELETE", f"/v2/full/app/{path}")
        if answer.status != 202:
            failed.append(f"{path}: {answer.status} {answer.body[:150]}")
    a.demand(not failed, f"each delete works on the full disk ({len(failed)} of {len(taken)} do not: {failed[:2]})")
    a.demand(client.request("DELETE", "/v2/full/app/manifests/" + "sha256:" + "0" * 64).status == 404, "what is not there is 404")
    time.sleep(1.1)
    code, out, err = a.server.command("gc", "--purge-history")
    a.demand(code == 0, f"gc works on the full disk the first time: {out} {err}")
    os.remove(foreign)
    a.wait_for(lambda: blob(MIB)[0].status == 201, 20, "pushes are taken again")
    a.note(f"{len(taken)} changes taken, {refusals} refused, deleted and collected in {time.monotonic() - begin:.0f} s")
    client.close()


# A disk of its own (MiB). Nothing is kept back but what removing needs, and what was deleted goes with the next sweep.
full_disk.disk = 512
full_disk.env = {"DRYPORT_BLOBS__RESERVE": "0", "DRYPORT_BLOBS__LEASE": "1s", "DRYPORT_GC__INTERVAL": "0s"}
