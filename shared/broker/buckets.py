"""The names of the buckets; streams.py lists the owner, the readers and the TTL of each."""

from typing import Final

JOBS: Final = "events"
KEYS: Final = "keys"
CREDENTIALS: Final = "credentials"
WEBHOOKS: Final = "webhooks"
NONCES: Final = "nonces"
CONTEXTS: Final = "contexts"
SESSIONS: Final = "sessions"
LEASES: Final = "leases"
RECORDINGS: Final = "recordings"
CLIPS: Final = "clips"
EXPORTS: Final = "exports"
RESTREAMS: Final = "restreams"
PLAYOUTS: Final = "playouts"
DELIVERIES: Final = "deliveries"
SCHEDULES: Final = "schedules"
