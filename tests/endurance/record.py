"""What a run counts: operations, latencies by kind of request, failures. Owns no judgement; safe between threads."""

import sys
import threading
import time
from array import array
from collections import Counter, defaultdict

SHOWN = 15


class Record:
    def __init__(self):
        self.lock, self.begin = threading.Lock(), time.monotonic()
        self.counts, self.times, self.failures = Counter(), defaultdict(lambda: array("f")), []
        self.expected_failures = False

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    def reply(self, reply):
        kind = kind_of(reply.what)
        with self.lock:
            self.times[kind].append(reply.end - reply.start)

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
            if len(self.failures) <= SHOWN:
                at = time.monotonic() - self.begin
                print(f"FAILURE {len(self.failures)} at {at:.1f} s: {text}", file=sys.stderr, flush=True)

    def again(self):
        """Lines with the first failures once more, for the end of a log of which only the end is kept."""
        with self.lock:
            return [f"FAILURE {n} was: {text[:2000]}" for n, text in enumerate(self.failures[:3], 1)]

    def latencies(self):
        """Lines `kind: number, p50, p99, max` in ms."""
        with self.lock:
            lines = []
            for kind, times in sorted(self.times.items()):
                ordered = sorted(times)
                at = [1000 * ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.99, 1)]
                lines.append(f"  {kind:<18} {len(ordered):>8}  p50 {at[0]:7.1f}  p99 {at[1]:7.1f}  max {at[2]:7.1f} ms")
            return lines

    def requests(self):
        with self.lock:
            return sum(len(times) for times in self.times.values())


def kind_of(what):
    """`METHOD thing` of a request line."""
    method, _, path = what.partition(" ")
    for thing in ("uploads", "manifests", "blobs", "referrers", "tags"):
        if f"/{thing}/" in path:
            return f"{method} {thing}"
    return f"{method} other"
