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
import resource
import sys

from attacks_answers import large_manifests, long_lists, never_read, past, pulls, small_blobs, tiny_ranges
from attacks_connections import (continuations, half_tls, idle, idle_tls, keep_alive, made_to_reset, many_addresses, rapid_reset,
                                 settings_and_pings, slow_heads, streams)
from attacks_documents import deep_json, manifests, mirror_plans
from attacks_requests import headers, log_flood, logins, requests
from attacks_uploads import announced, declared, full_disk, full_pieces, pushes, sessions, slow_bodies
from siege import Attack

# Attack: the most memory of the server (MiB). Pushes and pulls are what people do; their bounds are the project's aims.
ATTACKS = {
    idle: 150, keep_alive: 200, slow_heads: 120, half_tls: 300, idle_tls: 200, slow_bodies: 150, full_pieces: 260,
    never_read: 100, pushes: 120, pulls: 80, declared: 100, announced: 100, deep_json: 120, headers: 100, sessions: 100,
    logins: 150, mirror_plans: 400, manifests: 120, requests: 130, long_lists: 150, large_manifests: 150, small_blobs: 260,
    tiny_ranges: 120, log_flood: 100, rapid_reset: 120, made_to_reset: 120, settings_and_pings: 120, continuations: 120,
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
