"""Trusted authorities for TLS connections: the usual ones, and those of the operator's file."""

from __future__ import annotations

import ssl

import httpx


def trusting(ca_file: str) -> ssl.SSLContext:
    """Return a client's TLS context; `ca_file` is a PEM file, or "". Raise ValueError when it holds no certificate."""
    context = httpx.create_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl's errors are among them
            raise ValueError(f"no certificate can be read from {ca_file}: {error.strerror}") from error
    return context
