"""The proxy-encoder's composition root."""

from __future__ import annotations

from shared.runtime.service import Service


def build(service: Service) -> None:
    """Register nothing: connected, healthy and without work, until its capability is built."""
    assert service.name == "proxy-encoder"  # noqa: S101  a wrong start is a programming error
