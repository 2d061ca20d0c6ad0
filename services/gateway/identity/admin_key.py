"""The admin key: that of the settings, or one made at the first start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from services.gateway.identity.keys import Keys, new_key_text
from shared.runtime.logging import get_logger
from shared.runtime.settings import Settings
from shared.security.secrets import read_private, write_private

log = get_logger()
ADMIN_FILE: Final = "admin.key"
ADMIN_ACCOUNT: Final = "main"


def read_or_make(folder: Path) -> tuple[str, bool]:
    """Return the key in `folder`/admin.key, and whether it was made now. OSError when the folder cannot be used."""
    path = folder / ADMIN_FILE
    made = not path.exists() and write_private(path, new_key_text() + "\n")
    return read_private(path), made


async def ensure_admin_key(settings: Settings, keys: Keys) -> None:
    """Accept the settings' admin key, which is not stored, so that a restart with another one revokes it.

    Without one, make a key at the first start and print it once; register it, unless it has been revoked.
    """
    folder = settings.data_dir
    if given := settings.given_admin_key:
        keys.appoint(given, ADMIN_ACCOUNT)
        if (folder / ADMIN_FILE).exists():
            log.warning("gateway.admin_key.two", file=str(folder / ADMIN_FILE), better="revoke the one in the file")
        return
    text, made = read_or_make(folder)
    await keys.ensure(text, ADMIN_ACCOUNT, ("admin",), "admin")
    if made:
        sys.stdout.write(f"Admin API key: {text}\n")
        sys.stdout.flush()
        log.info("gateway.admin_key.made", file=str(folder / ADMIN_FILE))
