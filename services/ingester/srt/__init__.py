"""SRT ingest: one UDP port, with a stream id and a passphrase per stream."""

from services.ingester.srt.listener import SrtListener
from services.ingester.srt.model import SrtGrant, SrtLimits, SrtRequest
from services.ingester.srt.publication import SrtPublication
from shared.srt.errors import SrtError, SrtUnavailable

__all__ = [
    "SrtError",
    "SrtGrant",
    "SrtLimits",
    "SrtListener",
    "SrtPublication",
    "SrtRequest",
    "SrtUnavailable",
]
