"""An S3 server (moto) that misbehaves where a test says so, and counts what it is asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
from moto.s3 import models
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.support.web_servers import plain_client

Answer = tuple[int, dict[str, str], bytes]
Spoil = Callable[[Answer], Answer]


def fault(status: int, code: str, message: str = "said so", **more: str) -> Answer:
    """Return an S3 server's error."""
    rows = "".join(f"<{name}>{text}</{name}>" for name, text in more.items())
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{rows}</Error>"
    return status, {"Content-Type": "application/xml"}, body.encode()


@dataclass
class Meddled:
    """The server. `instead`: answers given in place of an operation's own; `spoiled`: changes of its own answer."""

    endpoint: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    instead: dict[str, list[Answer]] = field(default_factory=dict)
    always: dict[str, Answer] = field(default_factory=dict)
    spoiled: dict[str, Spoil] = field(default_factory=dict)
    client: Any = None
    trusted: str = ""

    def clear(self) -> None:
        """Forget everything but an empty bucket `films`."""
        for each in (self.instead, self.always, self.spoiled):
            each.clear()
        verify = ssl.create_default_context(cafile=self.trusted) if self.trusted else False
        httpx.post(f"{self.endpoint}/moto-api/reset", trust_env=False, verify=verify)
        self.client.create_bucket(Bucket="films")
        self.counts.clear()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        name = _operation(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""))
        self.counts[name] += 1
        given = self.always.get(name) or (self.instead[name].pop(0) if self.instead.get(name) else None)
        if given is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = given or self._own(environ)
        if given is None and (spoil := self.spoiled.get(name)):
            answer = spoil(answer)
        status, headers, body = answer
        fields = {"Content-Length": str(len(body))} | headers
        start(f"{status} X", list(fields.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _own(self, environ: dict[str, Any]) -> Answer:
        caught: list[Any] = []
        body = b"".join(_APP(environ, lambda status, headers, *_: caught.append((status, headers))))
        status, headers = caught[0]
        return int(status.split()[0]), dict(headers), body


_APP = DomainDispatcherApplication(create_backend_app)


def _operation(method: str, query: str) -> str:
    asked = parse_qs(query, keep_blank_values=True)
    if "uploads" in asked:
        return "create"
    if "partNumber" in asked:
        return "part"
    if "uploadId" in asked:
        return {"POST": "join", "GET": "parts", "DELETE": "abort"}[method]
    return {"PUT": "put", "HEAD": "head"}.get(method, method.lower())


@contextlib.contextmanager
def meddled(tls: ssl.SSLContext | None = None, trusted: str = "") -> Iterator[Meddled]:
    """Run a server with an empty bucket `films`; one with TLS is known to its own client by a file of authorities."""
    made = Meddled(trusted=trusted)
    server = make_server("127.0.0.1", 0, made, threaded=True, ssl_context=tls)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.endpoint = f"{'https' if tls else 'http'}://localhost:{server.server_port}"
    made.client = plain_client(made.endpoint, trusted)
    made.clear()
    least, models.S3_UPLOAD_PART_MIN_SIZE = models.S3_UPLOAD_PART_MIN_SIZE, 1
    try:
        yield made
    finally:
        models.S3_UPLOAD_PART_MIN_SIZE = least
        server.shutdown()
        server.server_close()
        thread.join()
