"""`reelay keys`: API keys from the command line, through the broker of the settings."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final, get_args

import nats
from nats.errors import Error as NatsError
from pydantic import TypeAdapter, ValidationError

from services.gateway.identity.keys import Keys, position
from shared.broker.nodes import parse_nodes
from shared.broker.subjects import inbox_prefix
from shared.errors import ReelayError
from shared.messages.base import AccountId
from shared.messages.keys import ApiKeyRecord, Dialect, Scope
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings

DAY_MS: Final = 86_400_000
PAGE: Final = 1000
CONNECT: Final = timedelta(seconds=5)
ANSWER: Final = timedelta(seconds=5)
_SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reelay keys", description="API keys")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key and print it, once")
    create.add_argument("--scope", action="append", required=True, choices=_SCOPES, help="may be given several times")
    create.add_argument("--account", default="main", type=_account)
    create.add_argument("--label", default="", type=_label)
    create.add_argument("--days", type=_days, default=None, help="valid for so many days; default: for ever")
    create.add_argument("--dialect", default="native", choices=_DIALECTS, help="whose shapes its answers have")
    listing = actions.add_parser("list", help="list the keys of an account")
    listing.add_argument("--account", default="main", type=_account)
    revoke = actions.add_parser("revoke", help="revoke a key, at once")
    revoke.add_argument("id")
    revoke.add_argument("--account", default="main", type=_account)
    return parser


def _account(text: str) -> str:
    try:
        return TypeAdapter(AccountId).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError("an account is 1 to 32 of a-z, 0-9 and -") from error


def _label(text: str) -> str:
    if len(text) > 128:
        raise argparse.ArgumentTypeError("a label has at most 128 characters")
    return text


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text[:6]) <= 36_500:
        raise argparse.ArgumentTypeError("days are a number from 1 to 36500")
    return int(text)


def _row(record: ApiKeyRecord) -> str:
    expires = f"expires {record.expires_ms}" if record.expires_ms else "never expires"
    scopes = ",".join(record.scopes)
    return f"{record.key_id}  {record.account}  {scopes}  {expires}  {record.dialect}  {record.label}".rstrip()


async def _create(keys: Keys, asked: argparse.Namespace) -> int:
    now = SystemClock().now_ms()
    expires = now + asked.days * DAY_MS if asked.days else None
    scopes = tuple(dict.fromkeys(asked.scope))
    text, record = await keys.create(asked.account, scopes, asked.label, expires, dialect=asked.dialect)
    sys.stdout.write(text + "\n")
    sys.stderr.write(f"key {record.key_id} of account {record.account}: {', '.join(record.scopes)}\n")
    return 0


async def _list(keys: Keys, asked: argparse.Namespace) -> int:
    after = None
    while found := await keys.page(asked.account, after, PAGE):
        for record in found:
            sys.stdout.write(_row(record) + "\n")
        after = position(found[-1])
    return 0


async def _revoke(keys: Keys, asked: argparse.Namespace) -> int:
    if await keys.revoke(asked.account, asked.id):
        return 0
    sys.stderr.write("there is no such key\n")
    return 1


_ACTIONS: Final[dict[str, Callable[[Keys, argparse.Namespace], Awaitable[int]]]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
}


def _shown(settings: Settings) -> str:
    return parse_nodes(settings.broker_url).shown


async def _quiet(_: Exception) -> None:
    """Ignore a failed try; the last error is reported at the end."""


@contextlib.asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[Keys]:
    async with asyncio.timeout(CONNECT.total_seconds()):  # nats-py alone would go on trying for two minutes
        nodes = parse_nodes(settings.broker_url)
        connection = await nats.connect(
            **nodes.options(), allow_reconnect=nodes.several, error_cb=_quiet, inbox_prefix=inbox_prefix("gateway")
        )
    try:
        yield Keys(lambda: connection.jetstream(timeout=ANSWER.total_seconds()), SystemClock())
    finally:
        await connection.close()


async def _run(asked: argparse.Namespace, settings: Settings) -> int:
    async with _keys(settings) as keys:
        return await _ACTIONS[asked.action](keys, asked)


def main(argv: list[str] | None = None) -> int:
    """Run `reelay keys ...` and return its exit code. SystemExit for bad arguments."""
    asked = _parser().parse_args(argv)
    settings = Settings()
    try:
        return asyncio.run(_run(asked, settings))
    except (NatsError, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        sys.stderr.write(f"reelay: the broker at {_shown(settings)} does not answer ({reason}); is the stack up?\n")
    except ReelayError as error:
        sys.stderr.write(f"reelay: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
