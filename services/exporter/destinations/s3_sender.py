"""Sends botocore's requests over connections to checked addresses, and reads their answers within limits."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import weakref
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import ConnectTimeoutError as PoolConnectTimeout
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import ReadTimeoutError as PoolReadTimeout
from urllib3.exceptions import SSLError as PoolSslError

from shared.errors import DestinationFailed, ReelayError
from shared.security.netguard.addresses import Networks
from shared.security.netguard.blocking import connect_now

PARALLEL: Final = 4
CONNECT: Final = timedelta(seconds=10)
READ_S: Final = 60.0
JOIN_S: Final = 600.0  # a server may say nothing for minutes while it joins parts
MOST_ANSWER: Final = 1 << 20
"""Bytes of an answer: a page of 1,000 parts has some 300 KB."""
_BLOCK: Final = 64 << 10


class Body(io.BytesIO):
    """Bytes of a request; `taken` is how many of them have been written to the connection."""

    sending = False  # botocore reads them all before, to sign them

    @property
    def taken(self) -> int:
        """The bytes written to the connection."""
        return self.tell() if self.sending else 0


class Sender:
    """Sends botocore's prepared requests over connections to checked addresses; follows no redirect, uses no proxy."""

    def __init__(self, allowed: Networks, tls: ssl.SSLContext) -> None:
        self._allowed = tuple(allowed)
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closed = False
        self._pools = urllib3.PoolManager(
            num_pools=4, maxsize=PARALLEL + 1, ssl_context=tls, blocksize=_BLOCK, retries=False
        )
        self._pools.pool_classes_by_scheme = _pool_classes(self._connect, self._connected)

    def _connect(self, host: str, port: int) -> socket.socket:
        sock = connect_now(host, port, allowed=self._allowed, within=CONNECT)
        if self._closed:
            sock.close()
            raise OSError("closed")
        self._open.add(sock)
        return sock

    def _connected(self, sock: socket.socket) -> None:
        self._open.add(sock)
        if self._closed:
            self.close()

    def close(self) -> None:
        """End all connections, those in use too."""
        self._closed = True
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS's own drops what another thread uses
        self._pools.clear()

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Send a request; raise what botocore's own session would, with netguard's errors as they are."""
        url = str(request.url)
        if isinstance(request.body, Body):
            request.body.sending = True
        try:
            return self._send(request, url)
        except ReelayError as error:
            raise HTTPClientError(error=error) from error
        except PoolSslError as error:
            raise SSLError(endpoint_url=url, error=error) from error
        except NewConnectionError as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        except PoolConnectTimeout as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except (PoolReadTimeout, TimeoutError) as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except (HTTPError, OSError) as error:
            raise ConnectionClosedError(endpoint_url=url, error=error, request=request) from error

    def _send(self, request: AWSPreparedRequest, url: str) -> AWSResponse:
        parts = urlsplit(url)
        body: Any = request.body
        headers: Any = request.headers
        read = JOIN_S if request.method == "POST" else READ_S
        answer = self._pools.connection_from_url(url).urlopen(
            request.method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            body=body, headers=headers, retries=False, redirect=False, preload_content=False,
            decode_content=False, assert_same_host=False,
            timeout=urllib3.Timeout(connect=CONNECT.total_seconds(), read=read),
        )  # fmt: skip
        fields: Any = answer.headers
        response = AWSResponse(url, answer.status, fields, answer)
        if not request.stream_output:
            made: Any = response
            made._content = _read(answer)  # noqa: SLF001  AWSResponse.content reads without a limit
        return response


def _read(answer: Any) -> bytes:
    """Return a whole answer; DestinationFailed when it is longer than any of S3's."""
    body = bytearray()
    while piece := answer.read(_BLOCK):
        body += piece
        if len(body) > MOST_ANSWER:
            answer.close()
            raise DestinationFailed(f"the server's answer is longer than {MOST_ANSWER >> 20} MiB")
    return bytes(body)


def _pool_classes(connect: Any, connected: Any) -> dict[str, Any]:
    class Plain(AWSHTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _opened(self, connect)

    class Secure(AWSHTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _opened(self, connect)

        def connect(self) -> None:
            super().connect()
            connected(self.sock)  # TLS took the first socket's descriptor into another

    class PlainPool(AWSHTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(AWSHTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _opened(connection: Any, connect: Any) -> socket.socket:
    sock: socket.socket = connect(connection.host, connection.port)
    sock.settimeout(READ_S)
    return sock
