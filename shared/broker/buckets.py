"""The names of the buckets; streams.py says whose each is, who reads it, and for how long its records stay."""

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
PLACES: Final = "places"
DELIVERIES: Final = "deliveries"
SCHEDULES: Final = "schedules"
