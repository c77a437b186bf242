"""A download over HTTP that goes on where a broken transfer stopped.

The bytes received so far stay in one file; the next attempt, in this process or a later one, asks
for the rest with `Range`, and with `If-Range` where the server gave a validator, so that a file
that changed meanwhile comes whole. Whether the pieces fit is settled by the digest.
"""

import contextlib
import json
import os
import random
import re
import shutil
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from multistep.files import write_json
from multistep.progress import progress, say

_TRANSIENT = {408, 425, 429, *range(500, 600)}
# What the last read before a break had gathered is lost, so reads are short.
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Patience:
    """How long to try one mirror. Times are in seconds.

    `attempts` counts attempts in a row that brought no new byte: a connection that breaks every
    minute but moves on is let run.
    """

    attempts: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    backoff: float = 1.0
    longest_wait: float = 60.0


class MirrorError(Exception):
    """A mirror won't deliver; the message says why."""


class _TransientError(Exception):
    """Worth another try, not before `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Resume:
    """Called with an address and a path, where it leaves the whole body.

    `body` is where the bytes gather; its validator stands beside it in `<body>.json`. A server that
    sends more than `size` bytes, if that is known, isn't listened to any longer. Unless it is
    `checked` whether the pieces fit, only what a validator says to be the same file is continued.
    """

    body: Path
    title: str
    size: int | None = None
    patience: Patience = Patience()
    checked: bool = True

    def __call__(self, url: str, file: Path) -> None:
        """Try until the body is whole, or raise MirrorError."""
        if url.startswith("file://"):
            try:
                shutil.copyfile(url2pathname(urlsplit(url).path), file)
            except OSError as error:
                raise MirrorError(error.strerror or str(error)) from error
            return
        farthest, fruitless = self._have(), 0
        while True:
            try:
                self._receive(url)
                os.replace(self.body, file)
                self._validator.unlink(missing_ok=True)
                return
            except (_TransientError, requests.RequestException) as error:
                if isinstance(error, _HOPELESS):
                    raise MirrorError(_short(error, url)) from error
                fruitless = 0 if self._have() > farthest else fruitless + 1
                farthest = max(farthest, self._have())
                if fruitless >= self.patience.attempts:
                    raise MirrorError(f"{_short(error, url)} ({fruitless} attempts)") from error
                self._pause(_short(error, url), getattr(error, "wait", 0.0), fruitless)

    @property
    def _validator(self) -> Path:
        return self.body.with_name(self.body.name + ".json")

    def _have(self) -> int:
        return self.body.stat().st_size if self.body.exists() else 0

    def _pause(self, reason: str, least: float, fruitless: int) -> None:
        """Wait as the server asked, else longer each time; spread, so that clients don't meet."""
        wait = self.patience.backoff * 2.0 ** max(0, fruitless - 1) * random.uniform(0.75, 1.25)
        wait = min(max(wait, least), self.patience.longest_wait)
        kept = f", {self._have() / 1e6:.1f} MB kept" if self._have() else ""
        say(f"{self.title}: {reason}; trying again in {wait:.1f} s{kept}")
        time.sleep(wait)

    def _receive(self, url: str) -> None:
        """One GET; appends to the body when the server continues it, else starts over."""
        have, mark = self._have(), self._mark_of(url)
        if not (mark or self.checked):
            have = 0
        # A compressed transfer would make byte positions meaningless.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if mark:
                headers["If-Range"] = mark
        timeout = (self.patience.connect_timeout, self.patience.read_timeout)
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            self._judge(response, have)
            if response.status_code != 206:
                have = 0
            self._remember(url, response)
            coded = response.headers.get("Content-Encoding", "identity") != "identity"
            if coded and self.title.lower().endswith("gz"):  # some say of the file what it is
                response.raw.headers.pop("Content-Encoding")
                coded = False
            length = "" if coded else response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            self._bound(total or have)
            with (
                open(self.body, "ab" if have else "wb") as file,
                progress(self.title, total or self.size, "B", done=have) as advance,
            ):
                try:
                    for block in response.iter_content(_CHUNK):
                        file.write(block)
                        advance(len(block))
                        have += len(block)
                        self._bound(have)
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        if total is not None and self._have() != total:
            raise _TransientError(f"the connection closed after {self._have()} of {total} bytes")

    def _bound(self, size: int) -> None:
        """Raise for a body that can't be the file, and keep nothing of it."""
        if self.size is not None and size > self.size:
            self.body.unlink(missing_ok=True)
            raise MirrorError(f"sends {size:,} bytes or more, where {self.size:,} are stated")

    def _judge(self, response: requests.Response, have: int) -> None:
        """Raise for every status but a whole body or the continuation that was asked for."""
        status = response.status_code
        reason = f"HTTP {status} {response.reason}"
        if status in _TRANSIENT:
            raise _TransientError(reason, _retry_after(response.headers.get("Retry-After")))
        started = response.headers.get("Content-Range", "")
        if status == 416 or (status == 206 and not started.startswith(f"bytes {have}-")):
            self.body.unlink(missing_ok=True)
            raise _TransientError(f"{reason}: the bytes kept don't fit; from the start")
        if status not in (200, 206):
            raise MirrorError(_short(_TransientError(reason), response.url))

    def _remember(self, url: str, response: requests.Response) -> None:
        """Keep the server's validator; weak ETags don't serve ranges (RFC 9110, 13.1.5)."""
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if mark and not mark.startswith("W/"):
            write_json(self._validator, {"url": url, "mark": mark})
        else:
            self._validator.unlink(missing_ok=True)

    def _mark_of(self, url: str) -> str | None:
        """The validator of the kept bytes, if it came from this very address."""
        try:
            kept = json.loads(self._validator.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(kept["mark"]) if kept.get("url") == url else None


_HOPELESS = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


def _retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, a number or an HTTP date; 0 if absent or unreadable."""
    for read in (float, lambda date: parsedate_to_datetime(date).timestamp() - time.time()):
        with contextlib.suppress(ValueError):
            return max(0.0, read(value or "0"))
    return 0.0


def _short(error: Exception, url: str) -> str:
    """The reason without urllib3's nesting of object reprs; with the proxy, if there is one."""
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy is None:
        return _reason(error)
    shown = re.sub(r"//[^/@]*@", "//", proxy)  # without a password
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        told = re.findall(r"Tunnel connection failed: ([^'\"]*)", str(error))
        return (
            f"the proxy {shown} failed ({told[0] if told else 'no connection to it'}); mend the "
            "environment variables https_proxy, http_proxy, no_proxy"
        )
    return f"{_reason(error)}, by way of the proxy {shown}"


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.ReadTimeout) or "Read timed out" in str(error):
        return "the server went silent"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate was refused ({error})"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection (refused, or the name is unknown)"
    return str(error)
