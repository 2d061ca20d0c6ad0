"""All routes of the facade, in the order in which they are matched: a name may hold slashes."""

from __future__ import annotations

from services.gateway.facades.flussonic import (
    archive_routes,
    dash_routes,
    dvr_routes,
    export_routes,
    file_routes,
    m3u_routes,
    preview_routes,
    sink_routes,
    status_routes,
    stream_routes,
)
from services.gateway.facades.flussonic.base import FACADE
from services.gateway.facades.flussonic.mount import MOUNT

ROUTES = (
    archive_routes, dash_routes, dvr_routes, export_routes, file_routes, m3u_routes, preview_routes,
    sink_routes, status_routes, stream_routes,
)  # fmt: skip

__all__ = ["FACADE", "MOUNT", "ROUTES"]
