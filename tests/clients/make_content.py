#!/usr/bin/env python3
"""Makes the content that the client tests push: one OCI layout, from nothing but the standard library.

make_content.py DIR   writes DIR (an OCI image layout) with the tags
  multi     index of amd64, arm64/v8 and arm/v7 that share a base layer
  single    one image of two layers, one of them the shared base
  big       an image with a layer of 100 MB
  empty     an image with a layer of zero bytes beside a real one
  artifact  an artifact with a subject (the image `single`)
  half, other  two images of one layer of 600 files each, of which every second is the same in both
  run       an image that runs on this machine; only where Debian's busybox-static is installed
and DIR.schema2, a `dir:` image of docker's schema 2. The same bytes come out each time.
"""
import gzip
import hashlib
import io
import json
import os
import random
import sys
import tarfile

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


class Layout:
    def __init__(self, path):
        self.path = path
        self.manifests = []
        os.makedirs(os.path.join(path, "blobs", "sha256"), exist_ok=True)

    def blob(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def json(self, value, media_type):
        return self.blob(json.dumps(value, separators=(",", ":")).encode(), media_type)

    def tag(self, descriptor, name):
        self.manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})

    def close(self):
        with open(os.path.join(self.path, "oci-layout"), "w") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)
        with open(os.path.join(self.path, "index.json"), "w") as file:
            json.dump({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": self.manifests}, file)


def tar(files):
    """A tar of name -> bytes, without anything that changes from run to run."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o755 if name.startswith("bin/") else 0o644
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def layer(layout, files, level=6):
    raw = tar(files)
    packed = gzip.compress(raw, level, mtime=0)
    diff_id = "sha256:" + hashlib.sha256(raw).hexdigest()
    return layout.blob(packed, OCI + "layer.v1.tar+gzip"), diff_id


def image(layout, arch, layers, variant=None):
    platform = {"architecture": arch, "os": "linux"}
    if variant:
        platform["variant"] = variant
    config = {
        **platform,
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in layers]},
        "history": [{"created_by": "make_content.py"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": layout.json(config, OCI + "config.v1+json"),
        "layers": [described for described, _ in layers],
    }
    return layout.json(manifest, OCI + "manifest.v1+json"), platform


def schema2(path, layout, base):
    """A `dir:` image: manifest.json, version, and one file a blob."""
    os.makedirs(path, exist_ok=True)
    described, diff_id = base

    def put(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(path, digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "size": len(data), "digest": "sha256:" + digest}

    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    with open(os.path.join(layout.path, "blobs", "sha256", described["digest"][7:]), "rb") as file:
        data = file.read()
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER + "distribution.manifest.v2+json",
        "config": put(json.dumps(config).encode(), DOCKER + "container.image.v1+json"),
        "layers": [put(data, DOCKER + "image.rootfs.diff.tar.gzip")],
    }
    with open(os.path.join(path, "manifest.json"), "w") as file:
        json.dump(manifest, file, indent=3)
    with open(os.path.join(path, "version"), "w") as file:
        file.write("Directory Transport Version: 1.1\n")


def static_busybox():
    """The bytes of a busybox that needs no library, or None."""
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(path):
            with open(path, "rb") as file:
                data = file.read()
            # A dynamic program names its loader near its head.
            if b"/ld-" not in data[:8192]:
                return data
    return None


def main(path):
    noise = random.Random(7)
    layout = Layout(path)
    base = layer(layout, {"etc/os-release": b"ID=test\n", "usr/share/base": noise.randbytes(300_000)})
    platforms = []
    for arch, variant in (("amd64", None), ("arm64", "v8"), ("arm", "v7")):
        own = layer(layout, {"bin/hello": f"#!/bin/sh\necho {arch}\n".encode() + noise.randbytes(20_000)})
        described, platform = image(layout, arch, [base, own], variant)
        platforms.append({**described, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": platforms}
    layout.tag(layout.json(index, OCI + "index.v1+json"), "multi")

    shared = {f"usr/lib/{n}": noise.randbytes(9_000) for n in range(600)}
    changed = {name: noise.randbytes(9_000) if n % 2 else data for n, (name, data) in enumerate(shared.items())}
    for tag, files in (("half", shared), ("other", changed)):
        layout.tag(image(layout, "amd64", [layer(layout, files, 1)])[0], tag)

    own = layer(layout, {"bin/hello": b"#!/bin/sh\necho single\n"})
    single, _ = image(layout, "amd64", [base, own])
    layout.tag(single, "single")
    big = layer(layout, {"big": noise.randbytes(100_000_000)}, level=0)
    layout.tag(image(layout, "amd64", [base, big])[0], "big")

    nothing = layout.blob(b"", "application/vnd.oci.image.layer.v1.tar")
    empty_diff = "sha256:" + hashlib.sha256(b"").hexdigest()
    layout.tag(image(layout, "amd64", [base, (nothing, empty_diff)])[0], "empty")

    busybox = static_busybox()
    if busybox:
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        own = layer(layout, {"bin/busybox": busybox, "bin/hello": b"#!/bin/busybox sh\nexec /bin/busybox echo it runs\n"})
        layout.tag(image(layout, arch, [base, own])[0], "run")

    config = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
    document = layout.blob(b'{"sbom": true}\n', "application/json")
    artifact = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "artifactType": "application/vnd.example.sbom",
        "config": config,
        "layers": [document],
        "subject": single,
    }
    layout.tag(layout.json(artifact, OCI + "manifest.v1+json"), "artifact")
    layout.close()
    schema2(path + ".schema2", layout, base)


if __name__ == "__main__":
    main(sys.argv[1])
