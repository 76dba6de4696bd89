#!/usr/bin/env python3
"""Repeats what a stage of tests/run prints and notes how long each test in it took.

    ... | tests/slowest.py rust FILE      output of `cargo test`
    ... | tests/slowest.py cases FILE     lines `ok NAME: WHAT`, `FAIL ...`, `SKIP ...` of a client script
    tests/slowest.py show FILE [COUNT]    the slowest of FILE

libtest prints a test when it ends and tells its time only where it is unstable to ask for it. But it starts the tests in
the order in which it lists them, RUST_TEST_THREADS at once, and the next one when one ends: so the line that ends a
test also tells when another one began.
"""

import os
import re
import subprocess
import sys
import time

RUNNING = re.compile(r"^\s+Running .*\((\S+)\)\s*$")
BEGUN = re.compile(r"^running \d+ tests?$")
ENDED = re.compile(r"test (\S+)(?: - should panic)? \.\.\. (?:ok|FAILED|ignored)")
CASE = re.compile(r"^(?:ok|FAIL|SKIP) (.*)$")


def lines():
    """Each line of the input, which is printed at once, and the time of it."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        yield line.decode(errors="replace").rstrip("\n"), time.monotonic()


def listed(binary):
    """The tests of a binary, in the order in which it starts them."""
    done = subprocess.run([binary, "--list", "--format", "terse"], capture_output=True, text=True, check=False)
    return [line.removesuffix(": test") for line in done.stdout.splitlines() if line.endswith(": test")]


def rust():
    threads = int(os.environ.get("RUST_TEST_THREADS") or len(os.sched_getaffinity(0)))
    waiting, begun = [], {}

    def start(count, now):
        for _ in range(min(count, len(waiting))):
            begun[waiting.pop(0)] = now

    for line, now in lines():
        if found := RUNNING.match(line):
            waiting, begun = listed(found[1]), {}
        elif BEGUN.match(line):
            start(threads, now)
        elif found := ENDED.search(line):
            if (since := begun.pop(found[1], None)) is not None:
                yield now - since, found[1]
            start(1, now)


def cases():
    since = time.monotonic()
    for line, now in lines():
        if found := CASE.match(line):
            yield now - since, found[1][:110]
            since = now


def show(path, count):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1) for line in file]
    rows.sort(key=lambda row: -float(row[0]))
    for seconds, what in rows[:count]:
        print(f"  {float(seconds):7.1f} s  {what}")


def main():
    what, path = sys.argv[1:3]
    if what == "show":
        show(path, int(sys.argv[3]) if len(sys.argv) > 3 else 15)
        return
    with open(path, "a", encoding="utf-8") as file:
        for seconds, name in {"rust": rust, "cases": cases}[what]():
            file.write(f"{seconds:.2f}\t{name}\n")


if __name__ == "__main__":
    main()
