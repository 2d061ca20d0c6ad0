"""Makes the destinations that the exporter is told of: checked, with URL and options encrypted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.gateway.domain.destinations.locations import Location, location
from services.gateway.domain.destinations.options import OPTIONS, BucketOptions
from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.domain.errors import Fault, Invalid, invalid
from shared.messages.credentials import CredentialRecord, CredentialType, is_default_for, is_for
from shared.messages.destinations import (
    DESTINATION_PURPOSE,
    LONGEST_OPTIONS,
    MOST_DESTINATIONS,
    DestinationSpec,
    DestinationType,
    export_id,
)
from shared.security.netguard.addresses import Networks
from shared.security.secrets import Vault

OPENED_BY: Final[Mapping[DestinationType, tuple[CredentialType, ...]]] = {
    "s3": ("s3",), "ftp": ("ftp",), "sftp": ("sftp",), "http": ("http", "oauth"), "videocloud": ("videocloud",),
}  # fmt: skip
"""The types of credentials that a destination of a type takes, default ones of the first; folder and library: none."""
TAKEN: Final[Mapping[DestinationType, frozenset[str]]] = {"s3": OPTIONS, "http": frozenset({"content_type"})}
"""The options that a destination of a type takes."""


@dataclass(frozen=True, slots=True)
class NewDestination:
    """A requested destination: a URL, a video of Video Cloud, or, without both, the library.

    `field` is its name in the request, for errors; empty when its fields are the request's own.
    """

    field: str = ""
    url: str | None = dataclasses.field(default=None, repr=False)
    videocloud: VideoCloud | None = dataclasses.field(default=None, repr=False)
    credentials: str | None = None
    options: BucketOptions = dataclasses.field(default_factory=BucketOptions, repr=False)

    def name(self, of: str) -> str:
        """Return the name of one of its fields in the request."""
        return f"{self.field}.{of}" if self.field else of


LIBRARY: Final = NewDestination()


class Stored:
    """An account's stored credentials, as destinations name them: by label, or by id."""

    def __init__(self, records: Sequence[CredentialRecord] = ()) -> None:
        self._records = records

    def named(self, name: str) -> CredentialRecord | None:
        """Return the credentials of a label, or else of an id."""
        found = [r for r in self._records if r.name == name] or [r for r in self._records if r.credential == name]
        return found[0] if found else None

    def default(self, kind: CredentialType, url: str) -> CredentialRecord | None:
        """Return the credentials that are used for a URL where none are named."""
        return next((r for r in self._records if r.type == kind and is_default_for(r, url)), None)


class Destinations:
    """Checks destinations and encrypts what is secret in them; `networks` may be reached besides public addresses.

    `stored` reads an account's stored credentials, which `of` and `spec` are given.
    """

    def __init__(self, vault: Vault, networks: Networks, stored: Callable[[str], Awaitable[Stored]]) -> None:
        self._vault = vault
        self._networks = networks
        self.stored: Final = stored

    def of(
        self, resource: str, file_name: str, asked: Sequence[NewDestination], stored: Stored
    ) -> tuple[DestinationSpec, ...]:
        """Return the destinations of a resource's file, the library without any; Invalid lists the faults of all."""
        asked = asked or (LIBRARY,)
        if len(asked) > MOST_DESTINATIONS:
            raise invalid(asked[0].field.rpartition("[")[0], f"must have at most {MOST_DESTINATIONS} entries")
        specs: list[DestinationSpec] = []
        places: set[tuple[str, str, str]] = set()
        faults: list[Fault] = []
        for position, one in enumerate(asked):
            try:
                spec = self.spec(export_id(resource, position), file_name, one, stored)
                url = self._vault.decrypt(spec.url, DESTINATION_PURPOSE) if spec.url else spec.export
                place = (spec.type, url if spec.type != "library" else "", spec.credential)
                if place in places:  # two writers would fight for it
                    raise invalid(one.field or "destinations", "is the same place as an earlier one")
                places.add(place)
                specs.append(spec)
            except Invalid as error:
                faults += error.faults
        if faults:
            raise Invalid(*faults)
        return tuple(specs)

    def spec(
        self, export: str, file_name: str, asked: NewDestination, stored: Stored, *, unpinned: bool = False
    ) -> DestinationSpec:
        """Return one destination; Invalid. With `unpinned`, an SFTP server's key may be unknown: a trial tells it."""
        to = self._location(asked, file_name)
        record = _credentials(asked, to, stored)
        if to.type == "sftp" and not unpinned and not (record and record.host_key):
            why = "have no host_key, without which the server cannot be told from another: store it"
            raise invalid(asked.name("credentials"), why)
        options = asked.options.model_dump(exclude_none=True)
        if foreign := options.keys() - TAKEN.get(to.type, frozenset()):
            raise invalid(asked.name(min(foreign)), f"is no option of {to.type} destinations")
        shown = to.shown
        if asked.videocloud is not None:
            account = asked.videocloud.account_id or (record.account_id if record else "")
            if not account:
                raise invalid(asked.name("videocloud.account_id"), "is missing: name it here, or in the credentials")
            options, shown = asked.videocloud.options(), f"{to.shown}{account}"
        return DestinationSpec(
            export=export,
            type=to.type,
            url=self._vault.encrypt(to.url, DESTINATION_PURPOSE) if to.url else "",
            shown=shown,
            credential=record.name if record and asked.credentials else "",
            file_name=file_name,
            options=self._sealed(asked, options) if options else "",
        )

    def _location(self, asked: NewDestination, file_name: str) -> Location:
        if asked.url is not None and asked.videocloud is not None:
            raise invalid(asked.name("videocloud"), "excludes url: name one of them")
        if asked.url is not None:
            return location(asked.name("url"), asked.url, file_name, self._networks)
        if asked.videocloud is not None:
            return Location("videocloud", "", "videocloud:")
        return Location("library", "", "")

    def _sealed(self, asked: NewDestination, options: Mapping[str, Any]) -> str:
        text = json.dumps(options, separators=(",", ":"), ensure_ascii=False)
        if len(text.encode()) > LONGEST_OPTIONS:
            name = "videocloud" if asked.videocloud else "metadata"
            raise invalid(asked.name(name), f"must have at most {LONGEST_OPTIONS} bytes as JSON")
        return self._vault.encrypt(text, DESTINATION_PURPOSE)


def _credentials(asked: NewDestination, to: Location, stored: Stored) -> CredentialRecord | None:
    """Return the credentials that are named or, without a name, the default ones; Invalid."""
    field_name, kinds = asked.name("credentials"), OPENED_BY.get(to.type, ())
    if asked.credentials:
        if not kinds:
            raise invalid(field_name, f"must be absent: a {to.type} destination takes none")
        record = stored.named(asked.credentials)
        if record is None:
            raise invalid(field_name, "there are no credentials of this name (POST /v1/credentials)")
        if record.type not in kinds:
            raise invalid(field_name, f"are of type {record.type}; this destination takes {' or '.join(kinds)}")
        if not is_for(record, to.url):
            raise invalid(field_name, f"are for the host {record.host} alone")
        return record
    default = stored.default(kinds[0], to.url) if kinds else None
    if to.type in {"s3", "sftp", "videocloud"} and default is None:
        raise invalid(field_name, f"are missing: name some of type {kinds[0]}, or store default ones for it")
    return default
