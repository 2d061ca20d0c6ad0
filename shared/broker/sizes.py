"""How large what goes through the broker may be: its max_payload, headers and all, is nats-server's own 1 MiB."""

from __future__ import annotations

from typing import Final

LARGEST_RECORD: Final = 900_000
"""Bytes of a record, and of an event that tells of it."""
LARGEST_COMMAND: Final = 700_000
"""Bytes of a command whose record repeats it, with what else the record holds."""
LARGEST_LETTER: Final = 700_000
"""Bytes of a body that a dead letter holds in Base64, beside the history of its tries."""
