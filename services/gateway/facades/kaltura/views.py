"""Entries, registrations and hosts as the API shows them. Tokens and addresses are for administrators only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.delivery.addresses import JobAddresses
from services.gateway.facades.kaltura.entries import Entry
from services.gateway.facades.kaltura.profiles import NOTE, SOURCE
from services.gateway.facades.kaltura.records import (
    AUTHENTICATED,
    PLAYABLE,
    STOPPED,
    Registration,
    ServerNode,
    node_number,
)
from services.gateway.facades.kaltura.registrations import is_playable

OFFLINE, PREVIEW, LIVE = 1, 2, 3
PREVIEW_MODE: Final = 0
Found = dict[str, Registration]


class Views:
    """Makes what clients see."""

    def __init__(self, addresses: JobAddresses) -> None:
        self._addresses = addresses

    def entry(self, entry: Entry, found: Found, token: str | None) -> dict[str, Any]:
        """Return an entry; with its `token` and addresses for those who may publish."""
        settings, job = entry.settings, entry.job
        created_s = entry.alias.created_ms // 1000
        shown: dict[str, Any] = {
            "objectType": "KalturaLiveStreamEntry", "id": entry.id, **settings.texts,
            "name": settings.texts.get("name") or entry.id, "partnerId": settings.partner, "type": "7",
            "mediaType": settings.media_type, "sourceType": settings.source_type, "status": "2",
            "createdAt": created_s, "updatedAt": entry.alias.changed_ms // 1000,
            "dvrStatus": settings.dvr_status, "dvrWindow": settings.dvr_window, "recordStatus": settings.record_status,
            "conversionProfileId": settings.conversion_profile_id, "flavorParamsIds": str(SOURCE),
            "segmentDuration": settings.segment_duration, "explicitLive": settings.explicit_live,
            "viewMode": settings.view_mode, "recordingStatus": 2 if entry.publishes else 0,
            "liveStatus": PLAYABLE if is_live(entry, found) else STOPPED, "streamName": f"{entry.id}_%i",
            "notes": NOTE, **_broadcasts(entry, found),
        }  # fmt: skip
        if settings.recording_options:
            options = {name: int(on) for name, on in settings.recording_options.items()}
            shown["recordingOptions"] = {"objectType": "KalturaLiveEntryRecordingOptions", **options}
        if job is not None:
            shown["hlsStreamUrl"] = self._addresses.playback(job, "dvr" if settings.dvr_status else "index")
        return shown | (self._secrets(entry, token) if token is not None else {})

    def _secrets(self, entry: Entry, token: str) -> dict[str, Any]:
        rtmp = self._addresses.rtmp_url.removesuffix("/live")
        address = f"{rtmp}/kLive/?p={entry.settings.partner}&e={entry.id}&i=0&t={token}"
        published = entry.settings.publish_configurations
        kind = "KalturaLiveStreamPushPublishRTMPConfiguration"
        return {
            "streamPassword": token, "srtPass": token, "primaryBroadcastingUrl": address,
            "primarySrtBroadcastingUrl": self._addresses.srt_server,
            "primarySrtStreamId": f"#:::e={entry.id},st=0,p={token}",
            "publishConfigurations": [{"objectType": kind, **one} for one in published] or None,
        }  # fmt: skip

    def details(self, entry: Entry, found: Found) -> dict[str, Any]:
        """Return whether and how an entry is live."""
        primary = PLAYABLE if entry.publishes else found["0"].status if "0" in found else STOPPED
        hidden = hides(entry)
        broadcast = (PREVIEW if hidden else LIVE) if is_live(entry, found) else OFFLINE
        return {
            "objectType": "KalturaLiveStreamDetails", "primaryStreamStatus": primary,
            "secondaryStreamStatus": found["1"].status if "1" in found else STOPPED,
            "viewMode": entry.settings.view_mode, "wasBroadcast": was_broadcast(entry, found),
            "broadcastStatus": broadcast,
        }  # fmt: skip


def is_live(entry: Entry, found: Found) -> bool:
    """Return whether our ingester records an entry, or a media server has registered it as playable."""
    return entry.publishes or is_playable(found)


def was_broadcast(entry: Entry, found: Found) -> bool:
    """Return whether anything of an entry was ever broadcast, as far as is known."""
    return (entry.job is not None and entry.job.session is not None) or bool(found)


def hides(entry: Entry) -> bool:
    """Return whether only its owners see that an entry is live."""
    return entry.settings.explicit_live == 1 and entry.settings.view_mode == PREVIEW_MODE


def _broadcasts(entry: Entry, found: Found) -> dict[str, Any]:
    """Return when an entry was broadcast, s since the epoch, by the history of its job and its registrations."""
    begun = [change.at_ms for change in entry.job.history if change.state == "processing"] if entry.job else []
    registered = [one.since_ms for one in found.values() if one.status != AUTHENTICATED]
    starts = sorted(begun + registered)
    if not starts:
        return {}
    ended = entry.job.media_end_ms if entry.job and not entry.publishes else None
    live = is_live(entry, found)
    return {
        "firstBroadcast": starts[0] // 1000, "lastBroadcast": starts[-1] // 1000,
        "currentBroadcastStartTime": starts[-1] // 1000 if live else 0,
        "lastBroadcastEndTime": ended // 1000 if ended else None,
    }  # fmt: skip


def entry_node(one: Registration, partner: int) -> dict[str, Any]:
    """Return a registration."""
    return {
        "objectType": "KalturaLiveEntryServerNode", "id": one.id, "entryId": one.entry, "partnerId": partner,
        "serverNodeId": node_number(one.owner, one.host), "createdAt": one.since_ms // 1000,
        "updatedAt": one.at_ms // 1000, "status": one.status, "serverType": one.index, "streams": [],
    }  # fmt: skip


def server_node(node: ServerNode) -> dict[str, Any]:
    """Return a host."""
    configs = {
        name: [{"objectType": "KalturaKeyValue", "key": key, "value": value} for key, value in pairs]
        for name, pairs in node.configs.items()
    }
    return {
        "objectType": node.kind, "id": node.id, "partnerId": node.partner, "hostName": node.host,
        "name": node.host, "systemName": node.host, "status": node.status,
        "heartbeatTime": node.heartbeat_ms // 1000, "createdAt": node.created_ms // 1000,
        "updatedAt": node.changed_ms // 1000, **node.texts, **configs,
    }  # fmt: skip


def media_server(node: ServerNode) -> dict[str, Any]:
    """Return a host as older clients know it."""
    return {
        "objectType": "KalturaMediaServer", "id": node.id, "createdAt": node.created_ms // 1000,
        "updatedAt": node.changed_ms // 1000, "heartbeatTime": node.heartbeat_ms // 1000, "hostname": node.host,
    }  # fmt: skip


def listed(kind: str, objects: Sequence[dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    """Return a list."""
    return {"objectType": kind, "objects": list(objects), "totalCount": len(objects) if total is None else total}
