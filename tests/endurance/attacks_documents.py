"""Attacks by manifests, and by images that are mirrored: deep, large, and more than memory holds.

Each gets the running attack, does its worst, notes what it saw and demands what must hold. Their bounds are in abuse.py.
"""

import json

from client import OCI_MANIFEST, Client
from server import USER
from siege import MIB, counted, threads
from upstream import Upstream


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


def manifests(a):
    """64 manifests of 4 MiB at once."""
    filler = "a" * (4 * MIB - 400)

    def one(n):
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": a.config, "layers": [], "x": filler, "n": n})
        return Client(a.server.port, USER).put_manifest("large/app", f"v{n}", OCI_MANIFEST, body.encode()).status
    results = threads(64, one)
    a.note(counted(results))
    a.demand(set(results) == {201}, "every manifest is taken")
