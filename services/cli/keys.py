"""`reelay keys`: the gateway's key commands, run against the running stack."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Final

from services.cli.datadir import read_run_file
from services.cli.errors import StackError
from shared.runtime.settings import Settings

OWNER: Final = "services.gateway.identity.keys_cli"  # its `main(arguments) -> int` reads the settings
HELP: Final = frozenset({"-h", "--help"})


def run_keys(arguments: Sequence[str]) -> int:
    """Run a key command and return its exit code. StackError when no stack runs on DATA_DIR and no broker is set."""
    if not HELP & set(arguments):
        os.environ["REELAY_NATS_URL"] = broker_url(Settings())
    return int(importlib.import_module(OWNER).main(list(arguments)))


def broker_url(settings: Settings) -> str:
    """Return the broker's URL: the one set, or that of the stack running on DATA_DIR (StackError when none does)."""
    if settings.nats_url:
        return settings.nats_url
    url = read_run_file(settings.data_dir).nats_url
    if not url:
        raise StackError("the stack is still starting; try again in a moment")
    return url
