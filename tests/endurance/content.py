"""The shared pool of content: the same seed makes the same bytes, so that what was collected is born again.

Owns layers, images, indexes and artifacts and which of them contains which. Everything is made once, at the start.
"""

import json
import random

from client import OCI_INDEX, OCI_MANIFEST, sha256

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = b"{}"
# Sizes in bytes, by the number of the layer: inside the database, in small files, in large ones.
SIZES = (300, 3_000, 12_000, 40_000, 70_000, 150_000, 90_000, 700, 260_000, 30_000, 1_200_000, 5_000)


class Manifest:
    """One image, index or artifact: its bytes and what it names."""

    __slots__ = ("digest", "data", "media_type", "blobs", "children", "subject", "kind")

    def __init__(self, kind, body, blobs=(), children=(), subject=None):
        self.kind, self.media_type = kind, body["mediaType"]
        self.data = json.dumps(body, separators=(",", ":")).encode()
        self.digest = sha256(self.data)
        self.blobs, self.children, self.subject = tuple(blobs), tuple(children), subject


def descriptor(media_type, digest, size, **more):
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


class Pool:
    """`blobs`: digest -> bytes; `manifests`: digest -> Manifest; `parents`: digest -> digests of what contains it."""

    def __init__(self, seed, layers=120, images=60, indexes=18, artifacts=30):
        self.random = random.Random(seed)
        self.seed, self.blobs, self.manifests, self.parents, self.referrers = seed, {}, {}, {}, {}
        self.layers = [self.add_blob(self.noise(i)) for i in range(layers)]
        self.empty = self.add_blob(EMPTY)
        self.images = [self.image(i) for i in range(images)]
        self.indexes = [self.index(i) for i in range(indexes)]
        self.artifacts = [self.artifact(i) for i in range(artifacts)]

    def noise(self, number):
        size = SIZES[number % len(SIZES)] + number
        return random.Random(f"{self.seed}/{number}").randbytes(size)

    def add_blob(self, data):
        digest = sha256(data)
        self.blobs[digest] = data
        self.parents.setdefault(digest, [])
        return digest

    def add(self, manifest):
        self.manifests[manifest.digest] = manifest
        self.parents.setdefault(manifest.digest, [])
        for part in (*manifest.blobs, *manifest.children):
            self.parents[part].append(manifest.digest)
        if manifest.subject:
            self.referrers.setdefault(manifest.subject, []).append(manifest.digest)
        return manifest

    def layer(self, digest):
        return descriptor(LAYER, digest, len(self.blobs[digest]))

    def image(self, number):
        config = json.dumps({"os": "linux", "architecture": "amd64", "number": number, "seed": self.seed}).encode()
        config = self.add_blob(config)
        layers = self.random.sample(self.layers, self.random.randint(1, 4))
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(CONFIG, config, len(self.blobs[config]))}
        body["layers"] = [self.layer(digest) for digest in layers]
        return self.add(Manifest("image", body, [config, *layers]))

    def index(self, number):
        children = self.random.sample(self.images, self.random.randint(2, 3))
        listed = [descriptor(c.media_type, c.digest, len(c.data)) for c in children]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed, "annotations": {"number": str(number)}}
        return self.add(Manifest("index", body, children=[c.digest for c in children]))

    def artifact(self, number):
        subject = self.random.choice([*self.images[:20], *self.indexes])
        layer = self.random.choice(self.layers[:12])
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": f"application/vnd.example.kind{number % 3}"}
        body["config"] = descriptor("application/vnd.oci.empty.v1+json", self.empty, len(EMPTY))
        body["layers"] = [self.layer(layer)]
        body["subject"] = descriptor(subject.media_type, subject.digest, len(subject.data))
        body["annotations"] = {"number": str(number)}
        return self.add(Manifest("artifact", body, [self.empty, layer], subject=subject.digest))

    def sizes(self):
        """Length of every digest of the pool."""
        return {**{d: len(b) for d, b in self.blobs.items()}, **{d: len(m.data) for d, m in self.manifests.items()}}
