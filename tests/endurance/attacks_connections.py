"""Attacks made of connections: many of them, which say nothing, little, or the same again and again; and HTTP/2 frames.

Each gets the running attack, does its worst, notes what it saw and demands what must hold. Their bounds are in abuse.py.
"""

import os
import socket
import ssl
import time

import frames
from client import Client, sha256
from server import USER
from siege import REPO, authorization, close, connect, counted, crowd, head, threads


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
