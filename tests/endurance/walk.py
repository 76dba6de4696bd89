"""Reads everything that a registry shows, from the outside, and compares it with its content files.

Owns the walk (catalog, tags, manifests, referrers, blobs; every byte hashed) and the list of content files. Must not
know what should be there: that is the ledger's.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from client import Client, sha256

# Content of at most so many bytes may lie in the database and then has no file.
INLINE = 64 << 10


class Walk:
    """After `run`: `repos` (name -> digests that its tags reach), `tags`, `sizes` (digest -> bytes), `problems`."""

    def __init__(self, port, user):
        self.port, self.user = port, user
        self.repos, self.tags, self.sizes, self.problems = {}, {}, {}, []

    def run(self, threads=4):
        client = Client(self.port, self.user)
        names = client.pages("/v2/_catalog?n=1000", "repositories") or []
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.walk_repo, names))
        client.close()
        return self

    def problem(self, text):
        self.problems.append(text)

    def walk_repo(self, repo):
        client = Client(self.port, self.user)
        reached = self.repos[repo] = set()
        for tag in client.pages(f"/v2/{repo}/tags/list?n=1000", "tags") or []:
            self.walk(client, repo, tag, f"{repo}:{tag}", reached)
        client.close()

    def walk(self, client, repo, reference, because, reached):
        """The manifest, what it contains, and what refers to it."""
        reply = client.get(f"/v2/{repo}/manifests/{reference}")
        digest = sha256(reply.body)
        if reply.status != 200 or reference.startswith("sha256:") and digest != reference:
            return self.problem(f"{because}: manifest {reference}: {reply.status}, {digest}")
        if not reference.startswith("sha256:"):
            self.tags[(repo, reference)] = digest
        if digest in reached:
            return None
        reached.add(digest)
        self.sizes[digest] = len(reply.body)
        manifest = reply.json()
        for child in manifest.get("manifests") or []:
            self.walk(client, repo, child["digest"], because, reached)
        for blob in filter(None, [manifest.get("config"), *(manifest.get("layers") or [])]):
            self.read_blob(client, repo, blob["digest"], because, reached)
        for referrer in client.pages(f"/v2/{repo}/referrers/{digest}", "manifests") or []:
            self.walk(client, repo, referrer["digest"], because, reached)
        return None

    def read_blob(self, client, repo, digest, because, reached):
        if digest in reached:
            return
        reply = client.get(f"/v2/{repo}/blobs/{digest}")
        if reply.status != 200 or sha256(reply.body) != digest:
            self.problem(f"{because}: blob {digest}: {reply.status}, {len(reply.body)} bytes")
        reached.add(digest)
        self.sizes[digest] = len(reply.body)


def content_files(data):
    """Every file below DIR/blobs: (digest, path, bytes)."""
    found = []
    for folder, _, names in os.walk(os.path.join(data, "blobs")):
        for name in names:
            path = os.path.join(folder, name)
            algorithm = os.path.relpath(path, os.path.join(data, "blobs")).split(os.sep)[0]
            try:
                found.append((f"{algorithm}:{name.split('.')[0]}", path, os.path.getsize(path)))
            except FileNotFoundError:
                pass  # The server has just removed it.
    return found


def disk_against(data, sizes):
    """What differs between the content files and the digests that are referenced, one line each; and their bytes."""
    files, problems, seen = content_files(data), [], {}
    for digest, path, size in files:
        if digest not in sizes:
            problems.append(f"{path} ({size} bytes): nothing references it")
        elif digest in seen:
            problems.append(f"{path}: {digest} has another file, {seen[digest]}")
        elif size != sizes[digest]:
            problems.append(f"{path}: {size} bytes instead of {sizes[digest]}")
        seen.setdefault(digest, path)
    for digest, size in sizes.items():
        if digest not in seen and size > INLINE:
            problems.append(f"{digest} ({size} bytes) is referenced and has no file")
    return problems, sum(size for _, _, size in files)
