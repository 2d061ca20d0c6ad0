"""A boto3 client that connects only to checked addresses and takes nothing from this machine's settings."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config
from botocore.configprovider import (
    BOTOCORE_DEFAUT_SESSION_VARIABLES,
    ConfigValueStore,
    ConstantProvider,
)
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.session import Session as BotocoreSession

from services.exporter.destinations.hidden import hidden
from services.exporter.destinations.s3_errors import S3Fault, broken, refused
from services.exporter.destinations.s3_sender import JOIN_S, PARALLEL, Sender
from shared.security.netguard.addresses import Networks

ANSWER_S: Final = 120.0
"""How long a call may take in all that sends no bytes of the file; the others are watched by what is taken."""
_SLOW: Final = frozenset({"complete_multipart_upload"})
_FILES: Final = {"config_file": os.devnull, "credentials_file": os.devnull}


@dataclass(frozen=True, slots=True)
class Access:
    """How a bucket's server is reached, and as whom."""

    key: str
    secret: str
    token: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    path_style: bool | None = None

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return f"Access({self.endpoint or self.region})"


class S3Link:
    """A client for one bucket's server, used in an `async with` block; its calls run in threads of their own.

    Leaving the block ends what is under way: the sockets are shut down.
    """

    def __init__(self, maker: S3Clients, access: Access, where: str) -> None:
        self._maker = maker
        self._access = access
        self._where = where
        self._threads = ThreadPoolExecutor(PARALLEL + 1, "s3-put")
        self._sender = Sender(maker.allowed, maker.tls)
        self._client: Any = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._client = await loop.run_in_executor(
            self._threads, self._maker.client, self._access, self._sender, self._where
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation of boto3's client, as `upload_part`; raise S3Fault."""
        loop = asyncio.get_running_loop()
        whole = JOIN_S if operation in _SLOW else None if "Body" in arguments else ANSWER_S
        try:
            async with asyncio.timeout(whole):
                return await loop.run_in_executor(self._threads, partial(self._call, operation, arguments))
        except TimeoutError:  # the thread ends with the link, which ends its connection
            raise S3Fault(f"{self._where}: the server does not answer in time") from None

    def _call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except ClientError as error:
            fault = refused(self._where, operation, error)
            secrets = (self._access.secret, self._access.token)
            raise S3Fault(hidden(str(fault), secrets), code=fault.code, final=fault.final) from None
        except HTTPClientError as error:  # also the base of what goes wrong on the way
            raise broken(self._where, error) from None
        except (BotoCoreError, ValueError) as error:
            raise broken(self._where, error, final=True) from None
        return answer


class S3Clients:
    """Makes clients. One session serves all: the models of the API are read once."""

    def __init__(self, allowed: Networks, tls: ssl.SSLContext) -> None:
        self.allowed = tuple(allowed)
        self.tls = tls
        self._lock = threading.Lock()
        self._session: boto3.session.Session | None = None

    def link(self, access: Access, where: str) -> S3Link:
        """Return a link to a server; `where` names it in errors."""
        return S3Link(self, access, where)

    def client(self, access: Access, sender: Sender, where: str) -> Any:
        """Return a client whose requests `sender` sends; blocks. Raise S3Fault (final) when the access is malformed."""
        rules: dict[str, Any] = {"ignore_configured_endpoint_urls": True}  # not known to botocore-stubs
        config = Config(
            **rules,
            retries={"total_max_attempts": 1},  # parts are sent again by us
            # each body's MD5 is sent and signed: its SHA-256 would be a second pass, here and there
            s3={"addressing_style": _style(access), "payload_signing_enabled": False},
            # servers other than AWS do not support the checksums that boto3 sends by default since 1.36
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={},
            user_agent_extra="reelay",
        )
        try:
            with self._lock:  # making clients is not safe in threads
                self._session = self._session or _isolated()
                client = self._session.client(
                    "s3", region_name=access.region or "us-east-1", endpoint_url=access.endpoint or None, config=config,
                    aws_access_key_id=access.key, aws_secret_access_key=access.secret,
                    aws_session_token=access.token or None,
                )  # fmt: skip
        except (BotoCoreError, ValueError) as error:
            raise broken(where, error, final=True) from None
        events: Any = client.meta.events
        events.register("before-send.s3", sender.send)
        events.register_last("before-parameter-build.s3", _stay)
        return client


def _style(access: Access) -> Any:
    if access.path_style is None:
        return "path" if access.endpoint else "auto"
    return "path" if access.path_style else "virtual"


def _stay(context: dict[str, Any], **_: Any) -> None:
    """Mark a request as redirected: botocore would ask the bucket's region and call there with the same keys."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _isolated() -> boto3.session.Session:
    """Return a session without this machine's environment, files in ~/.aws, and instance metadata."""
    session = BotocoreSession()
    defaults = {name: row[2] for name, row in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    values: dict[str, Any] = {name: ConstantProvider(value) for name, value in (defaults | _FILES).items()}
    session.register_component("config_store", ConfigValueStore(mapping=values))
    return boto3.session.Session(botocore_session=session)


def listed(rows: Iterable[Mapping[str, Any]] | None) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of an answer; a server leaves the list out where it is empty."""
    return tuple(rows or ())
