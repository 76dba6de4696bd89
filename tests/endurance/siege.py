"""One attack on a server of its own: the server, the bystander that must not notice, what is measured and demanded.

Owns connections of attackers, and the run of one attack. Must not know the attacks: those are in attacks_*.py.
"""

import base64
import http.client
import json
import multiprocessing
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from client import OCI_MANIFEST, Client, sha256
from server import USER, Server

REPO = "bystander/app"
MIB = 1 << 20
SINK = bytearray(MIB)


# ---- the bystander ---------------------------------------------------------------------------------------------------
class Bystander:
    """Reads a manifest every few milliseconds on a connection of its own, in a process of its own: as one more thread
    beside those of an attacker it would wait for these, and tell nothing of the server."""

    def __init__(self, port):
        self.port, self.times, self.failures = port, [], []
        fork = multiprocessing.get_context("fork")
        self.done, (self.told, told) = fork.Event(), fork.Pipe(duplex=False)
        self.process = fork.Process(target=self.run, args=(told,), daemon=True)

    def start(self):
        self.process.start()

    def run(self, told):
        connection = None
        while not self.done.is_set():
            begin = time.perf_counter()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                connection.request("GET", f"/v2/{REPO}/manifests/v1", headers={"Accept": OCI_MANIFEST})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as e:
                self.failures.append(f"{type(e).__name__}: {e}")
                connection = None
            self.times.append(time.perf_counter() - begin)
            self.done.wait(0.004)
        told.send((self.times, self.failures))

    def stop(self):
        self.done.set()
        try:
            self.times, self.failures = self.told.recv() if self.told.poll(30) else ([], ["it never came back"])
        except EOFError:
            self.failures.append("it ended")
        self.process.join(5)
        return self

    def quantile(self, q):
        ordered = sorted(self.times) or [0.0]
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * q))]


# ---- what attackers do -----------------------------------------------------------------------------------------------
def connect(port, n, wait=10.0):
    """A connection from one of a few loopback addresses, as one address has too few ports for many."""
    s = socket.socket()
    s.settimeout(wait)
    s.bind((f"127.0.1.{1 + n % 8}", 0))
    s.connect(("127.0.0.1", port))
    return s


def crowd(port, number, greeting=b""):
    sockets = []
    for n in range(number):
        s = connect(port, n)
        if greeting:
            s.sendall(greeting)
        sockets.append(s)
    return sockets


def wait_closed(sockets, limit):
    """Waits until the server has closed them all; gives how many it has not."""
    selector, still, end = selectors.DefaultSelector(), set(sockets), time.monotonic() + limit
    for s in sockets:
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ)
    while still and time.monotonic() < end:
        for key, _ in selector.select(0.5):
            try:
                if key.fileobj.recv(65536):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            selector.unregister(key.fileobj)
            still.discard(key.fileobj)
    selector.close()
    return len(still)


def taken(sockets, limit):
    """Takes all that comes, as fast as one thread can; gives the bytes of each."""
    selector, got, end = selectors.DefaultSelector(), [0] * len(sockets), time.monotonic() + limit
    for n, s in enumerate(sockets):
        selector.register(s, selectors.EVENT_READ, n)
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(0.5):
            more = key.fileobj.recv_into(SINK)
            got[key.data] += more
            if not more:
                selector.unregister(key.fileobj)
    selector.close()
    return got


def again(sockets, asked, limit):
    """Asks on each connection, and as soon as the answer is there for the next thing, all by one thread; `asked(n, path)`
    gives the head of what connection `n` asks after an answer whose Link goes on at `path` (None at first, and where there
    is no Link). Gives the statuses that came."""
    selector, end, statuses = selectors.DefaultSelector(), time.monotonic() + limit, []
    for n, s in enumerate(sockets):
        s.settimeout(10)
        s.sendall(asked(n, None))
        selector.register(s, selectors.EVENT_READ, (n, bytearray()))
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(0.2):
            n, answer = key.data
            data = key.fileobj.recv(65536)
            answer += data
            at = answer.find(b"\r\n\r\n")
            lines = bytes(answer[:at]).decode("latin-1").split("\r\n") if at >= 0 else []
            found = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
            if not data:
                selector.unregister(key.fileobj)
            elif lines and len(answer) - at - 4 >= int(found.get("content-length", 0)):
                statuses.append(int(lines[0].split()[1]))
                link = found.get("link", "")
                answer.clear()
                key.fileobj.sendall(asked(n, link[1:link.index(">")] if link else None))
    selector.close()
    return statuses


def close(sockets):
    for s in sockets:
        s.close()


def head(method, path, *more):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


def authorization():
    return "Authorization: Basic " + base64.b64encode(":".join(USER).encode()).decode()


def threads(number, work):
    """Runs `work(n)` in so many threads; gives what they gave, exceptions among it."""
    results = [None] * number

    def one(n):
        try:
            results[n] = work(n)
        except Exception as e:  # pylint: disable=broad-except
            results[n] = e
    all_of_them = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(number)]
    for t in all_of_them:
        t.start()
    for t in all_of_them:
        t.join(300)
    return results


def status_of(s, data=b""):
    """Sends, then reads the status of the answer; 0 where there is none."""
    try:
        if data:
            s.sendall(data)
        line = s.recv(4096).split(b"\r\n")[0].split()
        return int(line[1]) if len(line) > 1 else 0
    except (OSError, ValueError):
        return 0


def counted(values):
    found = {}
    for value in values:
        name = type(value).__name__ if isinstance(value, Exception) else str(value)
        found[name] = found.get(name, 0) + 1
    return " ".join(f"{name}x{n}" for name, n in sorted(found.items()))


# ---- one attack --------------------------------------------------------------------------------------------------------
ENV = {"DRYPORT_SERVE__IDLE": "10s", "DRYPORT_SERVE__PROGRESS": "10s", "DRYPORT_TRUSTED_PROXIES": "127.0.0.1/32,127.0.1.0/24",
       "DRYPORT_METRICS__OPEN": "true", "DRYPORT_LOG__LEVEL": "warn"}


def mounted(path, mib):
    """Whether a file system of so many MiB is there now."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", path], capture_output=True, check=False)
    return done.returncode == 0


class Attack:
    def __init__(self, args, make, bound):
        self.args, self.make, self.bound = args, make, bound
        self.home = tempfile.mkdtemp(prefix="dryport-abuse.", dir=args.dir)
        self.mounted = hasattr(make, "disk") and mounted(self.home, max(make.disk // 2, self.size(make.disk)))
        self.server = Server(args.binary, self.home, {**ENV, **getattr(make, "env", {})}.items())
        self.notes, self.problems, self.stop_feeding = [], [], threading.Event()
        self.large, self.large_size, self.config, self.before = "", 0, None, 0

    def run(self):
        if hasattr(self.make, "disk") and not self.mounted:
            print(f"{self.make.__name__:<12} SKIP: a file system of its own cannot be mounted here", flush=True)
            return True
        self.server.init()
        self.server.start(files=getattr(self.make, "files", None))
        self.fill()
        peace = self.watch(lambda: time.sleep(2))
        self.before = self.server.memory()[0]
        with open(f"/proc/{self.server.process.pid}/clear_refs", "w", encoding="ascii") as reset:
            reset.write("5")  # The peak so far is forgotten.
        war = self.watch(lambda: self.make(self))
        self.stop_feeding.set()
        if not self.server.alive():
            self.problems.append(f"the server ended:\n{self.server.tail()}")
        peak = self.server.memory()[1] if self.server.alive() else 0
        self.demand(not peace.failures and not war.failures, f"the bystander is served ({(peace.failures + war.failures)[:3]})")
        self.demand(peak <= self.bound or self.args.scale < 1, f"at most {self.bound} MiB of memory")
        print(f"{self.make.__name__:<12} memory {self.before:>4} -> {peak:>4} MiB (bound {self.bound:>3})   bystander p50 "
              f"{peace.quantile(.5):6.2f} -> {war.quantile(.5):6.2f}  p99 {peace.quantile(.99):6.2f} -> "
              f"{war.quantile(.99):6.2f} ms ({len(war.times)})   {'; '.join(self.notes)}", flush=True)
        for problem in self.problems:
            print(f"  FAILED: {problem}", flush=True)
        return not self.problems

    def fill(self):
        """What the bystander reads, and a large blob."""
        client, data = Client(self.server.port, USER), b"{}"
        big = os.urandom(MIB) * max(1, self.size(100))
        for content in (data, big):
            reply = client.post_whole(REPO, sha256(content), content)
            assert reply.status == 201, (reply.status, reply.body)
        self.large, self.large_size = sha256(big), len(big)
        self.config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256(data), "size": len(data)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.config, "layers": []}).encode()
        reply = client.put_manifest(REPO, "v1", OCI_MANIFEST, manifest)
        assert reply.status == 201, (reply.status, reply.body)
        client.close()

    def watch(self, what):
        bystander = Bystander(self.server.port)
        bystander.start()
        try:
            what()
        except Exception as e:  # pylint: disable=broad-except
            self.problems.append(f"the attack broke off: {type(e).__name__}: {e}")
        return bystander.stop()

    # ---- for the attacks ---------------------------------------------------------------------------------------------
    def size(self, full):
        return max(1, int(full * self.args.scale))

    def note(self, text):
        self.notes.append(text)

    def demand(self, holds, text):
        if not holds:
            self.problems.append(f"not so: {text}")

    def settled(self, number):
        """Notes what each of so many connections costs now."""
        there = int(self.metric("dryport_http_connections"))
        cost = (self.server.memory()[0] - self.before) * 1024 / max(1, there)
        self.note(f"{there} of {number} connections open, {cost:.1f} KiB each")

    def hold(self, sockets, how, limit=60):
        """Waits a moment, notes the cost, and demands that the server closes all."""
        time.sleep(2)
        self.settled(len(sockets))
        left = wait_closed(sockets, limit)
        self.stop_feeding.set()
        close(sockets)
        self.demand(left == 0, f"{how} ({left} are open after {limit} s)")

    def feed(self, sockets, byte, pause):
        """Sends a byte on each connection again and again."""
        def run():
            while not self.stop_feeding.wait(pause):
                for s in sockets:
                    try:
                        s.send(byte)
                    except (OSError, ValueError):
                        pass
        threading.Thread(target=run, daemon=True).start()

    def cpu(self):
        """Seconds of processors that the server has had."""
        with open(f"/proc/{self.server.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return next((float(line.split()[1]) for line in lines if line.startswith(name + " ")), -1.0)

    def wait_for(self, holds, limit, how):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if holds():
                return
            time.sleep(0.5)
        self.demand(False, f"{how} within {limit} s")

    def end(self, keep):
        self.server.kill()
        if self.mounted:
            subprocess.run(["umount", "-l", self.home], check=False)
        if keep:
            print(f"  kept: {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)
