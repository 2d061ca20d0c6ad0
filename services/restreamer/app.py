"""The restreamer's composition root."""

from __future__ import annotations

from shared.service import Service


def build(service: Service) -> None:
    """Register nothing: connected, healthy and without work, until its capability is built."""
    assert service.name == "restreamer"  # noqa: S101  a wrong start is a programming error
