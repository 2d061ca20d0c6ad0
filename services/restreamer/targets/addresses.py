"""Parses target URLs: where to connect, and what to ask for there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from services.restreamer.targets.terms import TargetError
from shared.errors import Rejected
from shared.rtmp.address import split_rtmp
from shared.security.netguard import check_url
from shared.security.netguard.addresses import Networks
from shared.srt.caller import check_passphrase
from shared.srt.constants import STREAMID_MAX

_DEFAULT_PORTS: Final = {"rtmp": 1935, "rtmps": 443}
_MOST_ARGUMENTS: Final = 64
_LATENCY: Final = timedelta(milliseconds=120)
_LONGEST_LATENCY: Final = timedelta(seconds=8)
_KEY_LENGTHS: Final = {"0": 16, "16": 16, "24": 24, "32": 32}  # libsrt's 0: its default


@dataclass(frozen=True, slots=True)
class RtmpAddress:
    """An RTMP server, its application, and the stream's name there, each with the query that belongs to it."""

    host: str
    port: int
    secure: bool
    app: str = field(repr=False)
    name: str = field(repr=False)
    tc_url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Strings that no text for people may contain."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SrtAddress:
    """An SRT listener to call, or a port of ours on which to wait for a caller."""

    mode: Literal["caller", "listener"]
    host: str
    port: int
    streamid: str = field(repr=False)
    passphrase: str | None = field(repr=False)
    key_length: int
    latency: timedelta


def read_address(url: str, *, allowed: Networks, srt_ports: tuple[range, ...]) -> RtmpAddress | SrtAddress:
    """Read a target's URL; TargetError when it cannot be one."""
    scheme = url.partition(":")[0].lower()
    try:
        if scheme == "srt":
            return _srt(url, allowed, srt_ports)
        if scheme in _DEFAULT_PORTS:
            return _rtmp(url, allowed)
    except (Rejected, ValueError) as error:
        raise TargetError(str(error), final=True) from error
    raise TargetError("a target is an rtmp://, rtmps:// or srt:// URL", final=True)


def _rtmp(url: str, allowed: Networks) -> RtmpAddress:
    checked = check_url(url, schemes=_DEFAULT_PORTS, allowed=allowed, credentials=True)
    found = split_rtmp(checked.url)
    app, name = found.app, found.name
    port = checked.port or _DEFAULT_PORTS[checked.scheme]
    host = f"[{checked.host}]" if ":" in checked.host else checked.host
    shown = host if port == _DEFAULT_PORTS[checked.scheme] else f"{host}:{port}"
    plain = name.partition("?")[0]
    steps = app.partition("?")[0].split("/")[1:]  # a key may be there, with more path after it
    told = (
        name, plain, unquote(plain), *steps, *_values(app), *_values(name), found.login, found.password, found.user
    )  # fmt: skip
    secrets = tuple(dict.fromkeys(filter(None, told)))
    tc_url = f"{checked.scheme}://{shown}/{app}"
    secure = checked.scheme == "rtmps"
    return RtmpAddress(checked.host, port, secure, app, name, tc_url, secrets, found.user, found.password)


def _values(text: str) -> list[str]:
    """Return the values of the arguments after a "?", as written and decoded."""
    written = [pair.partition("=")[2] for pair in text.partition("?")[2].split("&")]
    return [*written, *map(unquote, written)]


def _srt(url: str, allowed: Networks, ports: tuple[range, ...]) -> SrtAddress:
    try:
        parts = urlsplit(url)
        port = parts.port
        asked = dict(parse_qsl(parts.query, max_num_fields=_MOST_ARGUMENTS))
    except ValueError:  # its text contains parts of the URL
        raise ValueError("an SRT target is written srt://host:port?name=value&...") from None
    mode = asked.get("mode", "caller")
    if not port:
        raise ValueError("an SRT target names its port: srt://host:port")
    streamid, passphrase = asked.get("streamid", ""), asked.get("passphrase")
    if len(streamid.encode()) > STREAMID_MAX:
        raise ValueError(f"an SRT stream id has at most {STREAMID_MAX} bytes")
    if passphrase is not None:
        check_passphrase(passphrase)
    key_length = _KEY_LENGTHS.get(asked.get("pbkeylen", "0"))
    if key_length is None:
        raise ValueError("pbkeylen is one of 16, 24, 32")
    latency = _latency(asked.get("latency", ""))
    if mode == "listener":
        if not any(port in span for span in ports):
            raise ValueError(_refused_port(port, ports))
        return SrtAddress("listener", parts.hostname or "", port, streamid, passphrase, key_length, latency)
    if mode != "caller":
        raise ValueError("the mode of an SRT target is caller or listener")
    host = check_url(url, schemes=("srt",), allowed=allowed).host
    return SrtAddress("caller", host, port, streamid, passphrase, key_length, latency)


def _refused_port(port: int, ports: tuple[range, ...]) -> str:
    if not ports:
        return "SRT targets cannot wait for callers here: the setting REELAY_SRT_OUT_PORTS names no ports"
    spans = ", ".join(f"{span.start}-{span.stop - 1}" for span in ports)
    return f"port {port} is not one of those on which SRT targets may wait ({spans})"


def _latency(text: str) -> timedelta:
    """Read ms; FFmpeg's URLs have microseconds, so a value of more than 8 s in ms is taken as microseconds."""
    if not text:
        return _LATENCY
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("the latency of an SRT target is a number of ms")
    latency = timedelta(milliseconds=int(text))
    return min(latency if latency <= _LONGEST_LATENCY else latency / 1000, _LONGEST_LATENCY)
