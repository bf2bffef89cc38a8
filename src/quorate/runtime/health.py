"""Liveness, readiness and metrics of a node over HTTP, for orchestrators and Prometheus. It takes no orders.

    /live     200 while the node's thread runs: restarting the process helps only if it does not
    /ready    200 if this node knows a leader and has applied all that was acknowledged before: a round of a quorum
    /metrics  Prometheus text; 501 without prometheus-client

Knows nothing of nodes but three functions that answer these questions.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, final

from quorate.errors import ConfigError, QuorateError
from quorate.runtime.addresses import listen_on, parse_address
from quorate.runtime.metrics import CONTENT_TYPE, metrics_text

__all__ = ["Health"]

THREADS_MAX: Final = 16
"""Answers at once; a connection beyond is closed."""
PATIENCE_SECONDS: Final = 5.0
"""For a request to arrive."""
READY_SECONDS: Final = 1.0
"""For a quorum to answer."""


@final
class Health:
    """A small HTTP server in a thread of its own; a context manager.

    * ``address``: ``host:port`` or ``unix:/path``; ``insecure`` allows one that other hosts can reach.
    * ``live()`` says whether the node runs, ``ready(timeout)`` returns or raises an error that says why not,
      ``status()`` gives what the metrics are made of.

    Raises ConfigError for an address that is taken or foreign.
    """

    def __init__(
        self,
        address: str,
        *,
        live: Callable[[], bool],
        ready: Callable[[float], object],
        status: Callable[[], Mapping[str, Any]],
        insecure: bool = False,
    ) -> None:
        self._socket = listen_on(parse_address(address), insecure=insecure)
        self._socket.setblocking(True)  # the server waits for it before it accepts, and what it accepts must block
        self.live: Final = live
        self.ready: Final = ready
        self.status: Final = status
        self.address: Final = address
        health = self

        class Handler(_Handler):
            parent = health

        self._server = _Server(("", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = self._socket
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="quorate-http", daemon=True
        )

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __repr__(self) -> str:
        return f"Health({self.address!r}, {'live' if self.live() else 'not live'})"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.free = threading.BoundedSemaphore(THREADS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is nothing to talk about; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            logging.getLogger("quorate").exception("answering over HTTP failed")


class _Handler(BaseHTTPRequestHandler):
    parent: Health
    timeout = PATIENCE_SECONDS
    server_version = "quorate"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/live":
            live = self.parent.live()
            self._answer(200 if live else 503, {"live": live})
        elif path == "/ready":
            try:
                self.parent.ready(READY_SECONDS)
            except QuorateError as error:
                self._answer(503, {"ready": False, "reason": str(error)})
            else:
                self._answer(200, {"ready": True})
        elif path == "/metrics":
            self._metrics()
        else:
            self._answer(404, {"error": "there are /live, /ready and /metrics"})

    do_HEAD = do_GET

    def _metrics(self) -> None:
        try:
            text = metrics_text([self.parent.status()])
        except ConfigError as error:
            self._answer(501, {"error": str(error)})
        except QuorateError as error:
            self._answer(503, {"error": str(error)})
        else:
            self._send(200, CONTENT_TYPE, text)

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        self._send(code, "application/json", json.dumps(document).encode() + b"\n")

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Probes come every few seconds; nobody wants to read of them."""
