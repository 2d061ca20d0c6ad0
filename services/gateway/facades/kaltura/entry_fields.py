"""The fields of a live entry that clients set: what is kept of them, and how they are read."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.values import Fields

SOURCE_TYPES: Final = ("32", "42")
MOST_WINDOW: Final = 1440
PASSTHROUGH: Final = 1
"""The conversion profile of entries that name none."""
MOST_PUBLISHED: Final = 8
LARGEST: Final = 16_384
TEXTS: Final = {
    "name": 512, "description": 5000, "tags": 2000, "adminTags": 2000, "referenceId": 512, "userId": 100,
    "creatorId": 100, "categories": 2000, "partnerData": 5000, "parentEntryId": 32,
}  # fmt: skip
LOCKED: Final = ("dvrStatus", "dvrWindow", "recordStatus", "conversionProfileId", "segmentDuration", "explicitLive")
"""Not changed while the entry is live."""
READ_ONLY: Final = frozenset({
    "id", "partnerId", "status", "type", "createdAt", "updatedAt", "streamName", "streamPassword", "srtPass",
    "primaryBroadcastingUrl", "secondaryBroadcastingUrl", "liveStatus", "firstBroadcast", "lastBroadcast",
})  # fmt: skip
OPTIONS: Final = (
    "shouldCopyEntitlement", "shouldCopyScheduling", "shouldCopyThumbnail", "shouldMakeHidden", "shouldAutoArchive",
)  # fmt: skip
_NUMBERS: Final = {
    "dvrWindow": (1, MOST_WINDOW), "conversionProfileId": (0, 2**31 - 1), "segmentDuration": (2000, 20_000),
}  # fmt: skip
_ENUMS: Final = {
    "dvrStatus": ("KalturaDVRStatus", (0, 1)), "recordStatus": ("KalturaRecordStatus", (0, 1, 2)),
    "explicitLive": ("KalturaNullableBoolean", (-1, 0, 1)), "viewMode": ("KalturaViewMode", (0, 1)),
    "mediaType": ("KalturaMediaType", (201, 202, 203, 204)),
}  # fmt: skip
_PUBLISHED: Final = {"publishUrl": 1000, "backupPublishUrl": 1000, "port": 8, "streamKey": 200}


class Settings(BaseModel):
    """What this API alone knows of an entry; the alias has it, sealed. Requests and answers have it in camel case."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    partner: int
    texts: dict[str, str] = Field(default_factory=dict)
    media_type: int = 201
    source_type: str = SOURCE_TYPES[0]
    dvr_status: int = 0
    dvr_window: int = 120
    record_status: int = 0
    conversion_profile_id: int = PASSTHROUGH
    segment_duration: int = 6000
    explicit_live: int = 0
    view_mode: int = 1
    recording_options: dict[str, bool] = Field(default_factory=dict)
    publish_configurations: tuple[dict[str, str], ...] = ()

    @property
    def window_s(self) -> int:
        """The job's sliding window, s: that of dvrWindow, or a minute where nothing is to be rewound."""
        return self.dvr_window * 60 if self.dvr_status else 60


def changes_of(asked: Fields) -> dict[str, Any]:
    """Return what a request sets of an entry, by the API's names. KalturaError."""
    for name in asked.names:
        if name in READ_ONLY:
            raise KalturaError("PROPERTY_VALIDATION_NOT_UPDATABLE", PROP_NAME=name)
    changes: dict[str, Any] = {"texts": {n: asked.text(n, longest=most) for n, most in TEXTS.items() if n in asked}}
    for name, (least, most) in _NUMBERS.items():
        if asked.text(name):
            changes[name] = asked.number(name, 0, least, most)
    for name, (enum, known) in _ENUMS.items():
        if asked.text(name):
            changes[name] = asked.choice(name, 0, enum, known)
    if "recordingOptions" in asked:
        options = asked.inner("recordingOptions")
        changes["recordingOptions"] = {name: options.flag(name) for name in OPTIONS if name in options}
    if "publishConfigurations" in asked:
        sent = asked.items("publishConfigurations", MOST_PUBLISHED)
        changes["publishConfigurations"] = tuple(
            {name: one.text(name, longest=most) for name, most in _PUBLISHED.items() if one.text(name)} for one in sent
        )
    return changes


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return settings with changes. KalturaError when they get too large."""
    texts = {name: text for name, text in (settings.texts | changes["texts"]).items() if text}
    made = Settings.model_validate(settings.model_dump(by_alias=True) | changes | {"texts": texts})
    if len(made.model_dump_json().encode()) > LARGEST:
        raise KalturaError("PROPERTY_VALIDATION_MAX_LENGTH", PROP_NAME="liveStreamEntry", MAX_LENGTH=str(LARGEST))
    return made


def require_unlocked(before: Settings, after: Settings) -> None:
    """Raise KalturaError when a field differs that is not changed while the entry is live."""
    was, now = before.model_dump(by_alias=True), after.model_dump(by_alias=True)
    fields = [name for name in LOCKED if was[name] != now[name]]
    if fields:
        raise KalturaError("CANNOT_UPDATE_FIELDS_WHILE_ENTRY_BROADCASTING", FIELDS=", ".join(fields))
