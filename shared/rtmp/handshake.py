"""The RTMP handshake (RTMP 1.0, section 5.2), plain and with Flash-era digests.

A client whose C1 carries a valid HMAC-SHA256 digest (Flash, FMLE, FFmpeg, many hardware encoders) is answered with
digests of our own; any other client gets the plain handshake. Encrypted handshakes (RTMPE) are refused. The digest
form is not in Adobe's document; it follows the public clients librtmp and FFmpeg.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from shared.rtmp.errors import ProtocolError

SIZE = 1536
VERSION = 3
_DIGEST = 32
_KEY_TAIL = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_SERVER_NAME = b"Genuine Adobe Flash Media Server 001"
_SERVER_KEY = _SERVER_NAME + _KEY_TAIL
_CLIENT_NAME = b"Genuine Adobe Flash Player 001"
_SERVER_VERSION = bytes((5, 0, 17, 1))
_SCHEMES = (8, 772)
"""Offsets of the four bytes whose sum gives the digest's offset."""


def hello(*, time_ms: int) -> bytes:
    """Return C0 and C1 of a plain handshake (1537 bytes); C2 then repeats the received S1."""
    return bytes((VERSION,)) + (time_ms & 0xFFFFFFFF).to_bytes(4, "big") + bytes(4) + os.urandom(SIZE - 8)


def answer(client: bytes, *, time_ms: int) -> bytes:
    """Return S0, S1 and S2 for C0 and C1 (1537 bytes); raises ProtocolError when C0 is not RTMP version 3."""
    if client[0] != VERSION:
        raise ProtocolError("not an RTMP handshake")
    c1 = client[1 : 1 + SIZE]
    head = (time_ms & 0xFFFFFFFF).to_bytes(4, "big")
    for scheme in _SCHEMES:
        offset = _offset(c1, scheme)
        digest = c1[offset : offset + _DIGEST]
        if any(c1[4:8]) and hmac.compare_digest(digest, _digest_of(c1, offset, _CLIENT_NAME)):
            return bytes((VERSION,)) + _signed_s1(head, scheme) + _signed_s2(digest)
    return bytes((VERSION,)) + head + bytes(4) + os.urandom(SIZE - 8) + c1


def _offset(block: bytes, scheme: int) -> int:
    return sum(block[scheme : scheme + 4]) % 728 + scheme + 4


def _digest_of(block: bytes, offset: int, key: bytes) -> bytes:
    return hmac.digest(key, block[:offset] + block[offset + _DIGEST :], hashlib.sha256)


def _signed_s1(head: bytes, scheme: int) -> bytes:
    block = head + _SERVER_VERSION + os.urandom(SIZE - 8)
    offset = _offset(block, scheme)
    return block[:offset] + _digest_of(block, offset, _SERVER_NAME) + block[offset + _DIGEST :]


def _signed_s2(client_digest: bytes) -> bytes:
    block = os.urandom(SIZE - _DIGEST)
    key = hmac.digest(_SERVER_KEY, client_digest, hashlib.sha256)
    return block + hmac.digest(key, block, hashlib.sha256)
