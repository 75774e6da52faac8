"""A web server in a thread, for as long as a test needs one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class Quiet(BaseHTTPRequestHandler):
    """Handles a request and says nothing of it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def body(self) -> bytes:
        """Of the request, whose length is told."""
        return self.rfile.read(int(self.headers["content-length"]))

    def answer(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        """Answer with a body of this content type."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if body:  # the client may be gone with the head
            self.wfile.write(body)


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve on a loopback port, a free one by default, until the block ends; the port."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
