"""Breaks things behind the ledger's back, so that the judges can be judged: `--break KIND` must end in failures."""

import os
import random
import time

from client import OCI_MANIFEST, Client
from walk import content_files

KINDS = ("file", "flip", "tag", "move", "manifest", "blob")


def held(shared, rng):
    """A tag that certainly means something, and what."""
    now = time.monotonic()
    keys = list(shared.ledger.tags)
    rng.shuffle(keys)
    for repo, tag in keys:
        values = shared.ledger.tag_values(repo, tag, now, now)
        if len(values) == 1 and None not in values:
            return repo, tag, shared.pool.manifests[values.pop()]
    return None


def strike(kind, shared, data, seed):
    """One damage of that kind; gives what was done, or None if there was nothing to damage."""
    rng = random.Random(seed)
    target, client = held(shared, rng), Client(shared.port, shared.user)
    if target is None:
        return None
    repo, tag, manifest = target
    if kind in ("file", "flip"):
        return damage_file(kind, shared, manifest, data, rng)
    if kind == "tag":
        return f"DELETE {repo}:{tag}: {client.request('DELETE', f'/v2/{repo}/manifests/{tag}').status}"
    if kind == "manifest":
        return f"DELETE {repo}@{manifest.digest}: {client.request('DELETE', f'/v2/{repo}/manifests/{manifest.digest}').status}"
    if kind == "move":
        other = b'{"schemaVersion":2,"mediaType":"%s","config":{},"layers":[]}' % OCI_MANIFEST.encode()
        other = other.replace(b'"config":{}', b'"config":{"mediaType":"a/b","digest":"%s","size":2}' % shared.pool.empty.encode())
        client.post_whole(repo, shared.pool.empty, b"{}")
        return f"PUT {repo}:{tag}: {client.put_manifest(repo, tag, OCI_MANIFEST, other).status}"
    # A blob cannot be deleted while a manifest needs it: take the manifest, the blob, and put the tag's name back.
    if not manifest.blobs:
        return None
    client.request("DELETE", f"/v2/{repo}/manifests/{manifest.digest}")
    return f"DELETE {repo} {manifest.blobs[-1]}: {client.request('DELETE', f'/v2/{repo}/blobs/{manifest.blobs[-1]}').status}"


def damage_file(kind, shared, manifest, data, rng):
    todo, blobs = [manifest], set()
    while todo:
        one = todo.pop()
        blobs.update(one.blobs)
        todo.extend(shared.pool.manifests[child] for child in one.children)
    files = [(path, size) for digest, path, size in content_files(data) if digest in blobs]
    if not files:
        return None
    path, size = rng.choice(files)
    if kind == "file":
        os.remove(path)
        return f"removed {path}"
    with open(path, "r+b") as file:
        file.seek(size // 2)
        byte = file.read(1)
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 1]))
    return f"flipped a bit of {path}"
