"""Whom we trust when we connect by TLS: the usual authorities, and those of a file that the operator names."""

from __future__ import annotations

import ssl

import httpx


def trusting(ca_file: str) -> ssl.SSLContext:
    """Make the context of a client; `ca_file` is a PEM file, or "". ValueError when it holds no certificate."""
    context = httpx.create_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl's errors are among them
            raise ValueError(f"no certificate can be read from {ca_file}: {error.strerror}") from error
    return context
