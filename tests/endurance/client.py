"""A small registry client over http.client: one keep-alive connection, every answer timed.

Owns requests, answers and the ways to upload a blob. Must not judge answers: that is ledger.py. `Gone` means that no
whole answer came, so the outcome of the request is unknown.
"""

import base64
import hashlib
import http.client
import json
import time
from urllib.parse import quote, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = "application/octet-stream"
ACCEPT = f"{OCI_MANIFEST}, {OCI_INDEX}"
TIMEOUT = 30.0


class Gone(Exception):
    """The connection broke or timed out before the whole answer was here."""


class Reply:
    """One answer, with the times (monotonic, s) before the request was sent and after the answer was read."""

    __slots__ = ("status", "headers", "body", "start", "end", "what")

    def __init__(self, status, headers, body, start, end, what):
        self.status, self.headers, self.body = status, headers, body
        self.start, self.end, self.what = start, end, what

    def header(self, name):
        return self.headers.get(name) or ""

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    def code(self):
        """The first error code of the spec's error body."""
        try:
            return self.json()["errors"][0]["code"]
        except (KeyError, IndexError, TypeError):
            return ""

    def missing(self):
        """The digests that a MANIFEST_BLOB_UNKNOWN names."""
        try:
            return list(self.json()["errors"][0]["detail"]["missing"])
        except (KeyError, IndexError, TypeError):
            return []

    def location(self):
        """Path and query of Location."""
        parts = urlsplit(self.header("Location"))
        return parts.path + (f"?{parts.query}" if parts.query else "")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Client:
    """One user's connection; not for several threads at once. `on_reply(reply)` sees every answer."""

    def __init__(self, port, user=None, on_reply=None):
        self.port, self.on_reply, self.connection, self.used = port, on_reply, None, 0.0
        self.auth = {}
        if user:
            pair = base64.b64encode(f"{user[0]}:{user[1]}".encode()).decode()
            self.auth = {"Authorization": f"Basic {pair}"}

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def request(self, method, path, headers=None, body=None):
        """Sends one request. `body` may be bytes, or an iterable of bytes, which is sent chunked."""
        if time.monotonic() - self.used > 5:
            self.close()  # The server may have closed an idle connection: that is no broken answer.
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        send = {**self.auth, **(headers or {})}
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        streamed = body is not None and not isinstance(body, bytes)
        start = time.monotonic()
        try:
            self.connection.request(method, path, body, send, encode_chunked=streamed)
            answer = self.connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Gone(f"{method} {path}: {type(e).__name__}: {e}") from e
        self.used = time.monotonic()
        reply = Reply(answer.status, answer.headers, data, start, self.used, f"{method} {path}")
        if self.on_reply:
            self.on_reply(reply)
        return reply

    # ---- reading -------------------------------------------------------------------------------------------------

    def get(self, path):
        return self.request("GET", path, {"Accept": ACCEPT})

    def head(self, path):
        return self.request("HEAD", path, {"Accept": ACCEPT})

    def pages(self, path, field):
        """Every entry of a paged list; None if the list does not exist."""
        found = []
        while path:
            reply = self.get(path)
            if reply.status == 404:
                return None
            if reply.status != 200:
                raise Gone(f"{reply.what}: {reply.status}")
            found.extend(reply.json().get(field) or [])
            link = reply.header("Link")
            path = link[link.index("<") + 1 : link.index(">")] if "<" in link else None
        return found

    # ---- pushing -------------------------------------------------------------------------------------------------

    def put_manifest(self, repo, reference, media_type, data):
        return self.request("PUT", f"/v2/{repo}/manifests/{reference}", {"Content-Type": media_type}, data)

    def begin(self, repo, query=""):
        return self.request("POST", f"/v2/{repo}/blobs/uploads/{query}")

    def mount(self, repo, digest, source=None):
        query = f"?mount={digest}" + (f"&from={quote(source, safe='')}" if source else "")
        return self.begin(repo, query)

    def patch(self, location, first, data):
        headers = {"Content-Type": OCTETS, "Content-Range": f"{first}-{first + len(data) - 1}"}
        return self.request("PATCH", location, headers, data)

    def finish(self, location, digest, data=b""):
        mark = "&" if "?" in location else "?"
        return self.request("PUT", f"{location}{mark}digest={digest}", {"Content-Type": OCTETS}, data)

    def post_whole(self, repo, digest, data):
        path = f"/v2/{repo}/blobs/uploads/?digest={digest}"
        return self.request("POST", path, {"Content-Type": OCTETS}, data)


def received(reply):
    """How many bytes an upload reports to have: `Range: 0-LAST`, where 0-0 stands for none."""
    last = int(reply.header("Range").rpartition("-")[2] or 0)
    return last + 1 if last else 0
