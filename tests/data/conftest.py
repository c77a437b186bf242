"""A real HTTP server on loopback that misbehaves as real ones do, and stand-ins drawn once."""

import hashlib
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import data_sets
import pytest

BODY = random.Random(1).randbytes(400_000)
ETAG = f'"{hashlib.sha256(BODY).hexdigest()[:16]}"'


class Misbehaving(BaseHTTPRequestHandler):
    """The first part of the path says what goes wrong; `server.requests` keeps (kind, Range)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        kind = urlsplit(self.path).path.split("/")[1]
        asked = self.headers.get("Range")
        with self.server.guard:
            self.server.requests.append((kind, asked))
            self.server.count[kind] += 1
            nth = self.server.count[kind]
        if kind == "missing":
            return self._answer(404)
        if kind == "busy-always" or (kind == "busy-twice" and nth <= 2):
            return self._answer(503, {"Retry-After": "0.2"})
        if kind == "redirect":
            return self._answer(302, {"Location": "/ok/file"})
        return self._body(kind, nth, asked)

    def _body(self, kind, nth, asked):
        body, start, status, headers = BODY, 0, 200, {"ETag": ETAG}
        if kind == "wrong" or (kind == "wrong-once" and nth == 1):
            body = BODY[:-1] + bytes([BODY[-1] ^ 1])
        body = self.server.bodies.get(kind, body)
        if kind == "changed" and nth > 1:  # the file is another one now: no range of the old one
            headers["ETag"] = '"other"'
        if kind == "unmarked":  # the same, and nothing tells
            headers, body = {}, body if nth == 1 else body[::-1]
        if kind == "coded":  # the packing of the file is taken for that of its transfer
            headers["Content-Encoding"] = "x-gzip"
        matches = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if asked and kind != "truncated-no-ranges" and matches:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(body):
                return self._answer(416)
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if kind != "endless":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self._send(kind, nth, body[start:])
        return None

    def _send(self, kind, nth, rest):
        try:
            if kind == "truncated-always" or (
                nth == 1 and kind in ("truncated", "truncated-no-ranges", "changed", "unmarked")
            ):
                self.wfile.write(rest[: len(rest) // 2])
                self.close_connection = True
            elif kind == "stalled" and nth == 1:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                self.server.closing.wait(20)
                self.close_connection = True
            elif kind == "endless":
                self.close_connection = True
                while not self.server.closing.is_set():
                    self.wfile.write(rest)
            elif kind == "slow":
                for i in range(0, len(rest), 10_000):
                    self.wfile.write(rest[i : i + 10_000])
                    time.sleep(0.02)
            else:
                self.wfile.write(rest)
        except ConnectionError:  # the client was killed or gave up
            self.close_connection = True

    def _answer(self, status, headers=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server():
    """The running server, with `.url(kind)`, `.requests`, `.body`, `.sha256`, and other `.bodies`
    by kind.
    """
    running = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    running.requests, running.count, running.bodies = [], Counter(), {}
    running.guard, running.closing = threading.Lock(), threading.Event()
    running.body, running.sha256 = BODY, hashlib.sha256(BODY).hexdigest()
    running.url = lambda kind: f"http://127.0.0.1:{running.server_port}/{kind}/file"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.closing.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """By loader, a folder with its stand-in's archives, drawn when first asked for."""

    class Folders(dict):
        def __missing__(self, loader):
            self[loader] = data_sets.draw(loader, tmp_path_factory.mktemp(f"drawn-{loader}"))
            return self[loader]

    return Folders()
