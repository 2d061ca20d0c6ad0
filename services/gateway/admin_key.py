"""The admin key of the first start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from services.gateway.keys import Keys, new_key_text
from shared.logging import get_logger
from shared.secrets import read_private, write_private

log = get_logger()
ADMIN_FILE: Final = "admin.key"
ADMIN_ACCOUNT: Final = "main"


def read_or_make(folder: Path) -> tuple[str, bool]:
    """Give the key in `folder`/admin.key, and whether it was made now. OSError when the folder cannot be used."""
    path = folder / ADMIN_FILE
    made = not path.exists() and write_private(path, new_key_text() + "\n")
    return read_private(path), made


async def ensure_admin_key(folder: Path, keys: Keys) -> None:
    """Make the admin key on the first start and print it once; register it, unless it has been revoked."""
    text, made = read_or_make(folder)
    await keys.ensure(text, ADMIN_ACCOUNT, ("admin",), "admin")
    if made:
        sys.stdout.write(f"Admin API key: {text}\n")
        sys.stdout.flush()
        log.info("gateway.admin_key.made", file=str(folder / ADMIN_FILE))
