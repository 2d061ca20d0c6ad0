"""URLs of destinations: their kind, their normal form with the file's name, and the form that may be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from services.gateway.domain.errors import invalid
from shared.errors import Rejected
from shared.messages.destinations import DestinationType
from shared.security.netguard import check_url
from shared.security.netguard.addresses import Networks

LONGEST_PATH: Final = 1024
"""Of a key of a bucket in bytes, and of a path below the folder of exports."""
LONGEST_NAME: Final = 255
LONGEST_SEALED: Final = 3000
"""Bytes of a URL whose sealed form fits into DestinationSpec.url."""
SCHEMES: Final[Mapping[str, DestinationType]] = {
    "s3": "s3", "file": "folder", "ftp": "ftp", "ftps": "ftp", "sftp": "sftp",
    "http": "http", "https": "http", "webdav": "http", "webdavs": "http",
}  # fmt: skip
_NETWORK: Final = frozenset(SCHEMES) - {"s3", "file"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PARSED: Final = re.compile(r"[%?# ]")  # what parsers of URLs take for something else
# What boto takes for a bucket: older ones, and those of other servers, may have capitals and underscores.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_FORM: Final = "is scheme://..., where the scheme is one of: " + ", ".join(sorted(SCHEMES))


@dataclass(frozen=True, slots=True)
class Location:
    """Where a URL points to; `url` may hold a password, `shown` holds no user, password or query.

    The key of a bucket is taken as it is written, so `url` has it encoded where needed: who decodes it gets it back.
    """

    type: DestinationType
    url: str = field(repr=False)
    shown: str


def location(name: str, url: str, file_name: str, networks: Networks) -> Location:
    """Parse the URL of the field `name`; a path that is empty or ends with a slash gets the file's name. Invalid."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise invalid(name, _FORM)
    if scheme in _NETWORK:
        return _on_a_server(name, url, file_name, networks)
    if _CONTROL.search(url):
        raise invalid(name, "must not contain control characters")
    return _in_a_bucket(name, rest, file_name) if scheme == "s3" else _in_a_folder(name, rest, file_name)


def _on_a_server(name: str, url: str, file_name: str, networks: Networks) -> Location:
    try:
        checked = check_url(url, schemes=_NETWORK, allowed=networks, credentials=True)
    except Rejected as error:
        raise invalid(name, str(error)) from error
    parts = urlsplit(checked.url)
    if _CONTROL.search(unquote(parts.path)) or _CONTROL.search(unquote(parts.netloc)):
        raise invalid(name, "must not contain control characters, encoded ones either")
    if any(step in {".", ".."} for step in unquote(parts.path).split("/")):
        raise invalid(name, "must not have . or .. in its path")
    whole = parts._replace(path=_named(parts.path or "/", file_name))
    if len(urlunsplit(whole)) > 2048:
        raise invalid(name, "must have at most 2048 characters, with the file's name")
    return Location(SCHEMES[parts.scheme], urlunsplit(whole), _shown(whole))


def _named(path: str, file_name: str) -> str:
    return path + file_name if path.endswith("/") else path


def _shown(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _in_a_bucket(name: str, rest: str, file_name: str) -> Location:
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        raise invalid(name, "must not carry keys: store them (POST /v1/credentials) and name them in `credentials`")
    if not _BUCKET.fullmatch(bucket):
        raise invalid(name, "is s3://bucket/key; a bucket's name has 3 to 255 letters, digits, . - or _")
    key = _named(key, file_name) if key else file_name
    if len(key.encode()) > LONGEST_PATH:
        raise invalid(name, f"has a key of more than {LONGEST_PATH} bytes")
    if key.startswith("/") or any(step in {".", ".."} for step in key.split("/")):
        raise invalid(name, "must not have . or .. in its key, nor a slash at its beginning")
    url = f"s3://{bucket}/{_PARSED.sub(lambda found: quote(found[0]), key)}"
    if len(url.encode()) > LONGEST_SEALED:
        raise invalid(name, "has a key that is too long for what it consists of")
    return Location("s3", url, f"s3://{bucket}/{key}")


def _in_a_folder(name: str, rest: str, file_name: str) -> Location:
    if not rest.startswith("/"):
        raise invalid(name, "is file:///folder/name.mp4, below the folder of exports")
    path = _named(rest, file_name)
    if len(path.encode()) > LONGEST_PATH:
        raise invalid(name, f"has a path of more than {LONGEST_PATH} bytes")
    plain = unquote(path)
    if _CONTROL.search(plain) or "\\" in plain or any(step in {"", ".", ".."} for step in plain.split("/")[1:]):
        raise invalid(name, "must be a plain path: no . or .., no double slash, no backslash")
    if any(len(step.encode()) > LONGEST_NAME for step in plain.split("/")):
        raise invalid(name, f"has a name of more than {LONGEST_NAME} bytes")
    if "?" in path or "#" in path:
        raise invalid(name, "must not have a query or a fragment")
    return Location("folder", f"file://{path}", f"file://{path}")
