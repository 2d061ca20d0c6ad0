"""RTMP ingest: a server, and publications that yield frames."""

from __future__ import annotations

from services.ingester.refusals import PublishRefused
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.metadata import DataEvent
from services.ingester.rtmp.publication import Publication
from services.ingester.rtmp.request import PublishRequest
from services.ingester.rtmp.server import RtmpServer
from shared.rtmp.errors import RtmpError

__all__ = [
    "DataEvent",
    "Publication",
    "PublishRefused",
    "PublishRequest",
    "RtmpError",
    "RtmpLimits",
    "RtmpServer",
]
