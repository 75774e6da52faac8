"""The SDK's server of `sdk_server` over HTTP on a free port, which it prints."""

from __future__ import annotations

import socket

import uvicorn

from support.sdk_server import server

if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201
    app = server.streamable_http_app()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
