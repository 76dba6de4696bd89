"""A registry on loopback whose images are more than a mirror can hold: it serves what is asked for, made as it is asked.

Owns the images of the attack `mirror_plans`. Tags of the repository `much/app`: `children` (an index of manifests of
4 MiB), `referrers` (an image that as many refer to, in a list that gives no true sizes), `pages` (an image whose list of
referrers has no end), `names` (an index of manifests that name 4,000 blobs each).
"""

import json
import multiprocessing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from client import OCI_MANIFEST, sha256

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}


def image(number, filler=0, layers=()):
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY, "layers": list(layers), "annotations": {"n": str(number)}}
    if filler:
        body["annotations"]["filler"] = "a" * filler
    return json.dumps(body).encode()


def long(number):
    return image(number, (4 << 20) - 1000)


def naming(number):
    return image(number, 0, [{"digest": f"sha256:{4000 * number + n:064x}", "size": 1} for n in range(3990)])


def index(children):
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()


def described(body):
    return {"mediaType": OCI_MANIFEST, "digest": sha256(body), "size": len(body)}


class Much:
    """What is served: path -> media type and body, or who makes it."""

    def __init__(self, number):
        self.found, self.page = {}, index([])[:-1] + b', "annotations": {"filler": "' + b"a" * (7 << 20) + b'"}}'
        children, referrers, names = [], [], []
        for n in range(number):
            for make, listed in ((long, children), (naming, names)):
                body = make(n)
                listed.append(described(body))
                self.put(sha256(body), OCI_MANIFEST, lambda make=make, n=n: make(n))
            referrers.append({**children[-1], "size": 1})
        self.tag("children", OCI_INDEX, index(children))
        self.tag("names", OCI_INDEX, index(names))
        self.tag("pages", OCI_MANIFEST, image("pages"))
        subject = self.tag("referrers", OCI_MANIFEST, image("referrers"))
        self.put(subject.replace(":", "-"), OCI_INDEX, lambda body=index(referrers): body)
        self.endless = sha256(image("pages"))

    def put(self, reference, media_type, make):
        self.found[f"/v2/much/app/manifests/{reference}"] = (media_type, make)

    def tag(self, name, media_type, body):
        for reference in (name, sha256(body)):
            self.put(reference, media_type, lambda: body)
        return sha256(body)

    def answer(self, path):
        """Media type, body and the path of the next page."""
        if path.startswith(f"/v2/much/app/referrers/{self.endless}"):
            return OCI_INDEX, self.page, f"/v2/much/app/referrers/{self.endless}?more"
        media_type, make = self.found.get(path, (None, None))
        return media_type, make and make(), None


def serve(number, told):
    much = Much(number)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            media_type, body, more = much.answer(self.path)
            self.send_response(200 if body or self.path == "/v2/" else 404)
            if media_type:
                self.send_header("Content-Type", media_type)
            if more:
                self.send_header("Link", f'<{more}>; rel="next"')
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send(server.server_port)
    server.serve_forever()


class Upstream:
    """The registry in a process of its own; `port` is where it answers."""

    def __init__(self, number):
        fork = multiprocessing.get_context("fork")
        heard, told = fork.Pipe(duplex=False)
        self.process = fork.Process(target=serve, args=(number, told), daemon=True)
        self.process.start()
        if not heard.poll(120):
            raise RuntimeError("the upstream is not ready")
        self.port = heard.recv()

    def end(self):
        self.process.terminate()
        self.process.join(5)
