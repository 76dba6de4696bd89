"""Attacks by who pulls: answers that nobody takes, long ones, costly ones, and ones of the past.

Each gets the running attack, does its worst, notes what it saw and demands what must hold. Their bounds are in abuse.py.
"""

import json
import os
import random
import socket
import time

from client import OCI_MANIFEST, Client, sha256
from server import USER
from siege import MIB, REPO, again, close, connect, counted, crowd, head, status_of, taken, threads


def untaken(a, asked):
    """Connections that ask and have hardly room for the answer."""
    sockets = []
    for n, request in enumerate(asked):
        s = connect(a.server.port, n, 60)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(request)
        sockets.append(s)
    time.sleep(2)
    a.settled(len(sockets))
    return sockets


def never_read(a):
    """Downloads of a large blob that nobody takes."""
    sockets = untaken(a, [head("GET", f"/v2/{REPO}/blobs/{a.large}")] * a.size(2_000))
    # What is in the kernel's hands still arrives; the server is done with these when it has no connection left.
    a.wait_for(lambda: a.metric("dryport_http_connections") <= 3, 60, "closed by serve.progress")
    close(sockets)


def pulls(a):
    """32 pulls of a large blob at once, taken by one thread: 32 of them would keep each other and the server from the
    processors, which tells of them and not of the server."""
    sockets = crowd(a.server.port, 32, head("GET", f"/v2/{REPO}/blobs/{a.large}", "Connection: close"))
    begin, got = time.monotonic(), taken(sockets, 280)
    close(sockets)
    a.note(f"{sum(got) / 1e6 / (time.monotonic() - begin):.0f} MB/s")
    a.demand(all(n > a.large_size for n in got), "every pull is whole")


def long_lists(a):
    """Lists of referrers, as long as they can be, that nobody takes; from 200 addresses (by a trusted proxy)."""
    subject = {"mediaType": OCI_MANIFEST, "digest": sha256(b"subject"), "size": 7}
    for kind, length in (("a", 2_900_000), ("b", 4_100_000)):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": f"application/{kind}", "config": a.config,
                           "layers": [], "subject": subject, "annotations": {"x": "a" * length}}).encode()
        status = Client(a.server.port, USER).put_manifest(REPO, sha256(body), OCI_MANIFEST, body).status
        a.demand(status == 201, f"a referrer is taken, not {status}")
    path = f"/v2/{REPO}/referrers/{subject['digest']}"
    sockets = untaken(a, [head("GET", path, f"X-Forwarded-For: 10.8.0.{n % 200}") for n in range(a.size(1_000))])
    statuses = [status_of(s) for s in sockets]
    a.note(counted(statuses))
    a.demand(set(statuses) <= {200, 429} and (a.args.scale < 1 or 429 in statuses), "no more than a budget, and 429")
    close(sockets)


def large_manifests(a):
    """Many manifests of 4 MiB, each asked for again and again and not taken."""
    filler, digests = "a" * (4 * MIB - 400), []
    for n in range(a.size(64)):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": [], "x": filler, "n": n}).encode()
        status = Client(a.server.port, USER).put_manifest("large/app", f"v{n}", OCI_MANIFEST, body).status
        a.demand(status == 201, f"a manifest is taken, not {status}")
        digests.append(sha256(body))
    asked = [head("GET", f"/v2/large/app/manifests/{digests[n % len(digests)]}") for n in range(a.size(1_000))]
    sockets = untaken(a, asked)
    a.demand({status_of(s) for s in sockets} == {200}, "each is answered")
    close(sockets)


def small_blobs(a):
    """Many blobs of 64 KiB, which lie in the database, each asked for once and not taken."""
    client, filler, asked = Client(a.server.port, USER), os.urandom((64 << 10) - 8), []
    for n in range(a.size(1_000)):
        data = n.to_bytes(8, "big") + filler
        status = client.post_whole(REPO, sha256(data), data).status
        a.demand(status == 201, f"a blob is taken, not {status}")
        asked.append(head("GET", f"/v2/{REPO}/blobs/{sha256(data)}"))
    sockets = untaken(a, asked)
    a.demand({status_of(s) for s in sockets} == {200}, "each is answered")
    close(sockets)


def tiny_ranges(a):
    """1,024 ranges of a byte each of a large blob, from 250 clients (by a trusted proxy): by 500 that take nothing, and by
    24 that take all and ask again."""
    places = random.Random(1)

    def asked(n, *more):
        ranges = ",".join(f"{at}-{at}" for at in (places.randrange(a.large_size) for _ in range(1_024)))
        path = f"/v2/{REPO}/blobs/{a.large}"
        return head("GET", path, f"X-Forwarded-For: 10.6.0.{n % 250}", f"Range: bytes={ranges}", *more)
    whole, statuses, end = [], [], time.monotonic() + 20

    def one(n):
        while time.monotonic() < end:
            s = connect(a.server.port, n, 60)
            s.sendall(asked(n, "Connection: close"))
            answer = b""
            # Where all places are taken the whole blob is the answer, and its head is enough.
            while (more := s.recv(65536)) and not answer.startswith(b"HTTP/1.1 200"):
                answer += more
            s.close()
            statuses.append(int(answer.split(None, 2)[1]))
            if statuses[-1] == 206:
                whole.append(answer.count(b"\r\nContent-Range: bytes ") == 1_024)
    failed = [e for e in threads(24, one) if isinstance(e, Exception)]
    a.note(f"{counted(statuses)} taken")
    a.demand(not failed and whole and all(whole), f"every answer of parts is whole ({failed[:1]})")
    a.demand(set(statuses) <= {200, 206}, "each is answered in parts or with the whole")
    sockets = untaken(a, [asked(n) for n in range(a.size(500))])
    # A connection that is let in late is one without an answer.
    untaken_ones = [status_of(s) for s in sockets]
    a.note(f"{counted(untaken_ones)} not taken")
    a.demand(set(untaken_ones) <= {200, 206, 429} and 206 in untaken_ones, "each of these is answered, too")
    close(sockets)


def past(a):
    """The tags of 1,000,000, and their base layer, as of times at which they were not there and at which they were, read by
    1,000 clients from addresses of their own (by a trusted proxy), while another bystander is in peace and then is not."""
    writers, tags_at_once = 8, 64
    puts = max(writers, a.size(1_000_000) // tags_at_once)

    def fill(writer):
        client, statuses = Client(a.server.port, USER), []
        for n in range(writer, puts, writers):
            body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": [], "n": n}).encode()
            tags = "&".join(f"tag=t{n:06d}-{i:02d}" for i in range(tags_at_once))
            headers = {"Content-Type": OCI_MANIFEST}
            statuses.append(client.request("PUT", f"/v2/past/app/manifests/{sha256(body)}?{tags}", headers, body).status)
        return set(statuses)
    begin = time.monotonic()
    filled = threads(writers, fill)
    a.demand(all(statuses == {201} for statuses in filled), f"every tag is taken ({filled[:2]})")
    a.note(f"{puts * tags_at_once} tags in {time.monotonic() - begin:.0f} s")
    now = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime())
    names = [f"at/{n}/past/app" for n in ("20200101", "20200101t120000z", now, "29990101")]

    def asked(n, path):
        blob = f"/v2/{names[n % 2]}/blobs/{a.config['digest']}"
        path = path or (blob if n % 4 == 3 else f"/v2/{names[n // 4 % len(names)]}/tags/list")
        return head("GET", path, f"X-Forwarded-For: 10.7.{n // 250}.{n % 250}")
    peace = a.watch(lambda: time.sleep(5))
    sockets = crowd(a.server.port, a.size(1_000))
    statuses = []
    war = a.watch(lambda: statuses.extend(again(sockets, asked, 30)))
    close(sockets)
    quiet, loud = peace.quantile(.99), war.quantile(.99)
    a.note(f"{counted(statuses)}; p99 of a pull {quiet:.2f} -> {loud:.2f} ms")
    a.demand(not peace.failures and not war.failures, f"the second bystander is served ({war.failures[:3]})")
    a.demand(loud <= 3 * max(quiet, 2.0), "p99 of pulls beside it is at most three times that of their peace")
    a.demand(set(statuses) <= {200, 404, 429} and 200 in statuses, "each read is answered, or refused with 429")
    for name in ("dryport_store_read_rows_max", "dryport_store_write_rows_max"):
        a.demand(0 < a.metric(name) <= 2100, f"{name} is bounded, not {a.metric(name):.0f}")
