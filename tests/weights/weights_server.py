"""A real HTTP server on loopback that can be told to fail."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """How one GET is answered."""

    status: int = 200
    ranges: bool = True
    """False: like a server that has never heard of Range."""
    cut: int | None = None
    """Close the connection after so many bytes of the body."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly close."""
    hold: int | None = None
    """After so many bytes, wait until the test sets `release`."""
    with_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Other content than the server's file."""
    wrong_start: bool = False
    """Answer 206, but with another piece than was asked for."""


class WeightsServer(ThreadingHTTPServer):
    """Serves one file at every path; `script` holds the answers to the next GETs, after that all goes well."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.etag = '"version-1"'
        self.script: deque[Reply] = deque()
        self.requests: list[dict[str, str]] = []
        self.holding = threading.Event()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.pth"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: WeightsServer

    def do_GET(self) -> None:
        self.server.requests.append({key.lower(): value for key, value in self.headers.items()})
        reply = self.server.script.popleft() if self.server.script else Reply()
        if reply.status not in (200, 206):
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.end_headers()
            return
        body = self.server.body if reply.body is None else reply.body
        start = self._wanted_start(body, reply)
        if start is None:
            return
        self._send(body, start, reply)

    def _wanted_start(self, body: bytes, reply: Reply) -> int | None:
        wanted = self.headers.get("Range")
        if wanted is None or not reply.ranges:
            return 0
        if self.headers.get("If-Range", self.server.etag) != self.server.etag:
            return 0
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return None
        return start

    def _send(self, body: bytes, start: int, reply: Reply) -> None:
        if reply.wrong_start:
            start += 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if reply.with_length:
            self.send_header("Content-Length", str(len(body) - start))
        for key, value in ({"ETag": self.server.etag} | reply.headers).items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        rest = body[start:] if reply.cut is None else body[start : start + reply.cut]
        if reply.hold is not None:
            self.wfile.write(rest[: reply.hold])
            self.wfile.flush()
            self.server.holding.set()
            self.server.release.wait(60)
            rest = rest[reply.hold :]
        self.wfile.write(rest)
        self.wfile.flush()
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Quiet."""
