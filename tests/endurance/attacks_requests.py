"""Attacks by requests that are refused, wait, or are wrong: heads, passwords, and more at once than there may be.

Each gets the running attack, does its worst, notes what it saw and demands what must hold. Their bounds are in abuse.py.
"""

import base64
import http.client
import os
import time

from siege import MIB, REPO, close, connect, counted, crowd, head, status_of, threads


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
