"""Size limits of messages: the broker's max_payload, including headers, is nats-server's default of 1 MiB."""

from __future__ import annotations

from typing import Final

LARGEST_RECORD: Final = 900_000
"""The most bytes of a record, and of an event about it."""
LARGEST_COMMAND: Final = 700_000
"""The most bytes of a command whose record repeats it besides its other fields."""
LARGEST_LETTER: Final = 700_000
"""The most bytes of a body that a dead letter holds in Base64, besides the history of its tries."""
