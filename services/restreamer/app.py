"""The restreamer's composition root."""

from __future__ import annotations

from services.restreamer.handlers import Handlers
from shared.service import Service


def build(service: Service) -> None:
    """Join the handlers."""
    handlers = Handlers()
    service.handle("restreamer-command", handlers.command)
