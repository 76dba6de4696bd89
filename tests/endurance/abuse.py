#!/usr/bin/env python3
"""Attacks on a server, one after the other, each with a bystander that must not notice much.

    python3 tests/endurance/abuse.py --binary PATH [--scale 1.0] [--only NAME[,NAME]]

For each attack a fresh server is started; a bystander reads a manifest all the time from an address of its own, first
in peace, then while the attack goes on. Prints one line an attack: the server's memory before and at its peak (MiB),
what one connection costs where the attack is made of connections (KiB), the bystander's p50 and p99 (ms) in peace and
under attack, and what the attacker got. Exits 1 if the bystander fails once, if memory passes the attack's bound, or if
the attack did not end as it must (say, idle connections that nobody closes).

Attackers come from 127.0.0.2 and others of 127.0.0.0/8. Loopback is let in more freely than other addresses, so these
are the attacks without the limits of one address, but for those that name an address through a trusted proxy.
--scale 0.1 makes every attack a tenth as large. Python 3.11, standard library only; Linux.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import resource
import socket
import ssl
import sys
import threading
import time

import frames
from client import OCI_MANIFEST, Client, sha256
from server import USER
from siege import (MIB, REPO, Attack, again, authorization, close, connect, counted, crowd, head, status_of, taken, threads)
from upstream import Upstream


# ---- the attacks: each gets the running attack, does its worst, and gives what it saw ---------------------------------
def idle(a):
    """Connections that say nothing."""
    sockets = crowd(a.server.port, a.size(10_000))
    a.hold(sockets, "closed by serve.idle")


def keep_alive(a):
    """Connections that asked once and stay."""
    sockets = crowd(a.server.port, a.size(10_000), head("GET", "/livez"))
    a.hold(sockets, "closed by serve.idle")


def slow_heads(a):
    """Heads that come a byte at a time."""
    sockets = crowd(a.server.port, a.size(4_000), b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    a.feed(sockets, b"a", 1.0)
    a.hold(sockets, "closed by serve.idle")


def half_tls(a):
    """TLS handshakes that are begun and left."""
    context = ssl.create_default_context()
    hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(hello, out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    sockets = crowd(a.server.https, a.size(10_000), out.read()[:100])
    a.hold(sockets, "closed after 10 s", limit=60)


def idle_tls(a):
    """TLS connections after the handshake, idle."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sockets = [context.wrap_socket(s) for s in crowd(a.server.https, 0)]
    for n in range(a.size(4_000)):
        sockets.append(context.wrap_socket(connect(a.server.https, n)))
    a.hold(sockets, "closed by serve.idle")


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


def pulls(a):
    """32 pulls of a large blob at once, taken by one thread: 32 of them would keep each other and the server from the
    processors, which tells of them and not of the server."""
    sockets = crowd(a.server.port, 32, head("GET", f"/v2/{REPO}/blobs/{a.large}", "Connection: close"))
    begin, got = time.monotonic(), taken(sockets, 280)
    close(sockets)
    a.note(f"{sum(got) / 1e6 / (time.monotonic() - begin):.0f} MB/s")
    a.demand(all(n > a.large_size for n in got), "every pull is whole")


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


def filled(begin, item, end, length=4_100_000):
    """JSON of so many bytes, with one item as often as it has room for."""
    return begin + b",".join([item] * ((length - len(begin) - len(end)) // (len(item) + 1))) + end


def deep_json(a):
    """Manifests nested 100,000 levels, and such that unfold to much more than their text."""
    digest = b"sha256:" + b"a" * 64
    one = b'{"digest":"%s","size":1}' % digest
    image = b'{"schemaVersion":2,"config":%s,"layers":[' % one
    many = b",".join(b'{"digest":"sha256:%064x","size":1,"urls":["u"]}' % n for n in range(36_000))
    annotations = b'{"schemaVersion":2,"annotations":{' + b",".join(b'"%07x":""' % n for n in range(300_000)) + b"}"
    unknown, known = "application/vnd.example.unknown+json", "application/vnd.oci.image.manifest.v1+json"
    bodies = [
        (unknown, b"[" * 100_000), (unknown, b'{"a":' * 100_000), (unknown, filled(b'{"schemaVersion":2,"x":[', b"0", b"]}")),
        (unknown, annotations + b"}"), (unknown, annotations + b',"subject":%s}' % one),
        (unknown, filled(b'{"layers":[', b'{"digest":"","size":0}', b"]}")), (known, filled(image, one, b"]}")),
        (known, filled(image + one[:-1] + b',"urls":[', b'""', b"]}]}")), (known, image + many + b"]}"),
    ]

    def put(n):
        client = Client(a.server.port, USER)
        return client.put_manifest("deep/app", f"v{n}", *bodies[n % len(bodies)]).status
    statuses = threads(max(len(bodies), a.size(72)), put)
    # Large ones of one account come one after the other, and wait a minute for their turn at most.
    a.demand(set(statuses) <= {201, 400, 429}, "each is taken or refused, whatever it unfolds to")

    def referrers(_):
        return Client(a.server.port, USER).request("GET", "/v2/deep/app/referrers/" + digest.decode()).status
    lists = threads(a.size(24), referrers)
    a.demand(set(lists) == {200}, "a list of referrers with long annotations")
    a.note(f"{counted(statuses)}; lists {counted(lists)}")


def mirror_plans(a):
    """Mirror runs of images that are more than memory holds: manifests, referrers, pages and names by the hundred."""
    upstream = Upstream(a.size(300))
    try:
        for tag in ("children", "referrers", "pages", "names"):
            source = f"docker://127.0.0.1:{upstream.port}/much/app:{tag}"
            code, out, err = a.server.command("mirror", source, "--to", f"much/{tag}")
            said = (out + err).strip().splitlines()[-1:]
            a.note(f"{tag} {code}")
            refused = code == 3 and "mirror.memory" in out + err
            a.demand(refused or (a.args.scale < 1 and tag != "pages"), f"{tag} is refused with its size: exit code {code}, {said}")
    finally:
        upstream.end()


def headers(a):
    """Requests with a head of 10 MiB, and with 10,000 headers."""
    def one(n):
        s = connect(a.server.port, n)
        if n % 2:
            status = status_of(s, head("GET", "/v2/", "X-Long: " + "a" * (10 * MIB)))
        else:
            status = status_of(s, head("GET", "/v2/", *[f"X-H{i}: {i}" for i in range(10_000)]))
        s.close()
        return status
    results = threads(a.size(200), one)
    a.note(counted(results))
    a.demand(set(results) <= {431, 0}, "every head is refused")


def sessions(a):
    """Uploads that are begun and left."""
    def one(_):
        client = Client(a.server.port, USER)
        return [client.begin("flood/app").status for _ in range(a.size(500))]
    results = [status for some in threads(16, one) for status in (some if isinstance(some, list) else [some])]
    a.note(counted(results))
    a.demand(set(results) <= {202, 429}, "begun or refused with 429")
    a.demand(results.count(202) <= 4000, "no more than limits.uploads")


def logins(a):
    """Wrong passwords from many addresses (by a trusted proxy), so that no delay of one address helps."""
    def one(n):
        connection, results = http.client.HTTPConnection("127.0.0.1", a.server.port, timeout=60), []
        for i in range(a.size(20)):
            headers = {"Authorization": "Basic " + base64.b64encode(f"user{n}:{i}".encode()).decode(),
                       "X-Forwarded-For": f"10.{n // 256}.{n % 256}.{i % 256}"}
            connection.request("GET", "/v2/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            results.append(answer.status)
        return results
    results = [status for some in threads(100, one) for status in (some if isinstance(some, list) else [some])]
    a.note(counted(results))
    a.demand(set(results) <= {401, 429}, "refused")


def manifests(a):
    """64 manifests of 4 MiB at once."""
    filler = "a" * (4 * MIB - 400)

    def one(n):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": [], "x": filler, "n": n})
        return Client(a.server.port, USER).put_manifest("large/app", f"v{n}", OCI_MANIFEST, body.encode()).status
    results = threads(64, one)
    a.note(counted(results))
    a.demand(set(results) == {201}, "every manifest is taken")


def requests(a):
    """Requests of one address (by a trusted proxy) that all stay under way."""
    sockets = crowd(a.server.port, a.size(1_200), head("GET", f"/v2/{REPO}/blobs/{a.large}", "X-Forwarded-For: 10.9.9.9"))
    begin = time.monotonic()
    statuses = [status_of(s) for s in sockets]
    a.settled(len(sockets))
    a.note(f"{counted(statuses)} after {time.monotonic() - begin:.0f} s")
    close(sockets)
    a.demand(set(statuses) <= {200, 429} and (a.args.scale < 1 or 429 in statuses), "no more than limits.requests, and 429")


# Else those cut off by it make room for the others just when these have waited long enough.
requests.env = {"DRYPORT_SERVE__PROGRESS": "60s"}


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


def log_flood(a):
    """Requests without an account for paths of 60 KB, as many as go through eight connections."""
    asked, before = head("GET", "/v2/" + "a" * 60_000), os.path.getsize(a.server.log)
    end = time.monotonic() + 10

    def one(n):
        s, answered = connect(a.server.port, n), 0
        while time.monotonic() < end:
            answered += status_of(s, asked) == 404
        s.close()
        return answered
    answers = sum(n for n in threads(8, one) if isinstance(n, int))
    rate = (os.path.getsize(a.server.log) - before) / 10
    a.note(f"{answers / 10:.0f} requests and {rate / 1000:.0f} kB of log a second")
    a.demand(answers > 1_000, "requests are answered")
    a.demand(rate < 500_000, "the log grows by no more than 500 kB a second")
    wrong = {"Authorization": "Basic " + base64.b64encode(b"nobody:x").decode()}
    connection = http.client.HTTPConnection("127.0.0.1", a.server.port, timeout=20)
    connection.request("GET", "/v2/", headers=wrong)
    connection.getresponse().read()
    a.wait_for(lambda: "failed login" in a.server.tail(20_000), 10, "a failed login is logged all the same")


log_flood.env = {"DRYPORT_LOG__LEVEL": "info"}


def flood(a, pieces):
    """Frames from 16 HTTP/2 connections, each in bounded number; then what the server's processors gave for them."""
    before, begin = a.cpu(), time.monotonic()

    def one(n):
        connection = frames.open_connection(a.server.https, f"127.0.1.{1 + n % 8}")
        try:
            return frames.pour(connection, pieces(n))
        finally:
            connection.close()
    results = threads(16, one)
    sent, took = sum(r[0] for r in results if isinstance(r, tuple)), time.monotonic() - begin
    ended = sum(r[1] for r in results if isinstance(r, tuple))
    a.note(f"{sent} pieces in {took:.1f} s, {ended} of 16 connections ended by the server, {a.cpu() - before:.1f} s of processors")
    a.wait_for(lambda: a.metric("dryport_http_connections") <= 3, 60, "nothing stays")
    return results


def rapid_reset(a):
    """HTTP/2 streams that are opened and reset at once."""
    asked = frames.block(f"/v2/{REPO}/manifests/v1".encode())

    def pieces(_):
        for n in range(a.size(20_000)):
            stream = 2 * n + 1
            yield (frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, asked)
                   + frames.frame(frames.RST_STREAM, 0, stream, (8).to_bytes(4, "big")))
    flood(a, pieces)


def made_to_reset(a):
    """HTTP/2 streams that are opened wrongly (a body longer than its length), so that the server resets them itself."""
    asked = frames.block(b"/v2/", (b"content-length", b"1"))

    def pieces(_):
        for n in range(a.size(20_000)):
            stream = 2 * n + 1
            yield (frames.frame(frames.HEADERS, frames.END_HEADERS, stream, asked)
                   + frames.frame(frames.DATA, frames.END_STREAM, stream, b"xx"))
    flood(a, pieces)


def settings_and_pings(a):
    """HTTP/2 settings and pings, each of which asks for an answer; the answers are read by nobody in half of them."""
    def pieces(n):
        one = frames.frame(frames.PING, 0, 0, b"12345678") if n % 4 < 2 else frames.frame(
            frames.SETTINGS, 0, 0, (4).to_bytes(2, "big") + (65_535).to_bytes(4, "big"))
        for _ in range(a.size(2_000)):
            yield one * 50
    flood(a, pieces)


def continuations(a):
    """HTTP/2 heads that never end: CONTINUATION frames, empty ones and full ones."""
    def pieces(n):
        begin = frames.block(b"/v2/")
        yield frames.frame(frames.HEADERS, frames.END_STREAM, 1, begin)
        more = b"" if n % 2 else frames.field(b"x-long", b"a" * 8_000)
        for _ in range(a.size(20_000)):
            yield frames.frame(frames.CONTINUATION, 0, 1, more)
    results = flood(a, pieces)
    a.demand(all(isinstance(r, tuple) and r[1] for r in results), "the server ends each of these connections")


def streams(a):
    """250 streams on each of many HTTP/2 connections, all asking for a large blob and taking nothing of it, from many
    addresses: as many files as the server may have open are asked for several times over."""
    asked = frames.block(f"/v2/{REPO}/blobs/{a.large}".encode())
    held = []
    for n in range(a.size(60)):
        connection = frames.open_connection(a.server.https, f"127.0.2.{1 + n % 200}")
        frames.pour(connection, [frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 2 * i + 1, asked)
                                 for i in range(250)])
        held.append(connection)
    time.sleep(2)
    descriptors(a, held)


def many_addresses(a):
    """Connections from 250 addresses, many more than there may be: most in the midst of a head, and as many in the midst of
    an upload as one account may have of a server with so few files."""
    begin = head("POST", f"/v2/slow/app/blobs/uploads/?digest={sha256(b'x')}", authorization(), "Content-Length: 1000000")
    held = []
    for n in range(a.size(3_000)):
        s = socket.socket()
        s.settimeout(5)
        s.bind((f"127.0.2.{1 + n % 250}", 0))
        try:
            s.connect(("127.0.0.1", a.server.port))
            s.sendall(begin + b"a" * 100_000 if n < 200 else b"GET /v2/ HTTP/1.1\r\n")
        except OSError:
            pass  # its queue is full: the server takes no more for now
        held.append(s)
    descriptors(a, held)


def descriptors(a, held):
    """While all those are held: others get whole files and can push, or are told to come again, and the server has files left."""
    number = len(os.listdir(f"/proc/{a.server.process.pid}/fd"))
    results = []
    for n in range(20):
        client = Client(a.server.port, USER)
        data = os.urandom(200_000)
        results.append(client.post_whole("push/app", sha256(data), data).status)
        results.append(client.get(f"/v2/push/app/blobs/{sha256(data)}").status)
        client.close()
    a.note(f"{len(held)} connections, {number} files open; others got {counted(results)}")
    a.demand(set(results) <= {200, 201}, "others push and pull")
    a.demand("Too many open files" not in a.server.tail(200_000), "the server never runs out of files")
    close(held)


streams.files = many_addresses.files = 1024


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


# Attack: the most memory of the server (MiB). Pushes and pulls are what people do; their bounds are the project's aims.
ATTACKS = {
    idle: 150, keep_alive: 200, slow_heads: 120, half_tls: 300, idle_tls: 200, slow_bodies: 150, full_pieces: 260,
    never_read: 100, pushes: 120, pulls: 80, declared: 100, deep_json: 120, headers: 100, sessions: 100, logins: 150,
    mirror_plans: 400,
    manifests: 120, requests: 130, long_lists: 150, large_manifests: 150,
    small_blobs: 260, log_flood: 100, rapid_reset: 120, made_to_reset: 120, settings_and_pings: 120, continuations: 120,
    streams: 200, many_addresses: 200, past: 300, full_disk: 150,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--dir", help="where the data directories are made")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 25_000 * args.scale:
        print(f"only {hard} files may be open here (ulimit -n): attacks with many connections may be cut short")
    wanted = set(args.only.split(",")) if args.only else None
    good = True
    for make, bound in ATTACKS.items():
        if wanted and make.__name__ not in wanted:
            continue
        attack = Attack(args, make, bound)
        passed = False
        try:
            passed = attack.run()
        finally:
            attack.end(args.keep or not passed)
        good &= passed
    print(f"abuse: {'nobody else was hurt' if good else 'FAILED'} (scale {args.scale:g}, {soft}/{hard} files)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
