"""What an entry is transcoded to: nothing yet. One flavor, the source, is answered for every conversion profile."""

from __future__ import annotations

import re
from typing import Any, Final
from xml.sax.saxutils import escape

from services.gateway.facades.kaltura.errors import KalturaError

FIRST: Final = 1
"""The profile of entries that name none."""
SOURCE: Final = 32
"""The flavor of what the encoder sends."""
NOTE: Final = (
    "passthrough: streams are not transcoded yet, whatever the conversion profile; index 0 and bitrate 1 are taken"
)
_NAME: Final = re.compile(r"([01]_[0-9a-z]{8})_(\d{1,4})", re.ASCII)


def profile(number: int, partner: int) -> dict[str, Any]:
    """Return a conversion profile."""
    return {
        "objectType": "KalturaConversionProfile", "id": number, "partnerId": partner, "status": "2", "type": "2",
        "name": "Passthrough", "systemName": "passthrough", "description": NOTE, "flavorParamsIds": str(SOURCE),
        "isDefault": 1 if number == FIRST else 0, "createdAt": 0,
    }  # fmt: skip


def asset_params(profile_number: int) -> dict[str, Any]:
    """Return how a profile uses its one flavor: it is what the encoder sends."""
    return {
        "objectType": "KalturaConversionProfileAssetParams", "conversionProfileId": profile_number,
        "assetParamsId": SOURCE, "readyBehavior": 2, "origin": 1, "systemName": "Source", "forceNoneComplied": 0,
        "deletePolicy": 0, "isEncrypted": 0, "tags": "source,ingest,web,mbr",
    }  # fmt: skip


def flavor_params() -> dict[str, Any]:
    """Return the one flavor."""
    return {
        "objectType": "KalturaLiveParams", "id": SOURCE, "partnerId": 0, "name": "Source", "systemName": "Source",
        "description": NOTE, "isSystemDefault": True, "tags": "source,ingest,web,mbr", "videoCodec": "copy",
        "audioCodec": "copy", "videoBitrate": 0, "audioBitrate": 0, "width": 0, "height": 0, "streamSuffix": "1",
    }  # fmt: skip


def flavor_asset(entry: str, partner: int, created_s: int) -> dict[str, Any]:
    """Return an entry's one live asset."""
    return {
        "objectType": "KalturaLiveAsset", "id": f"{entry}_{SOURCE}", "entryId": entry, "partnerId": partner,
        "version": 1, "flavorParamsId": SOURCE, "isOriginal": True, "isWeb": True, "status": 2, "createdAt": created_s,
        "updatedAt": created_s, "tags": "source,ingest,web,mbr,recording_anchor",
    }  # fmt: skip


def entry_of_stream(name: str) -> str:
    """Return the entry of a stream's name, of which the first bitrate is taken. KalturaError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise KalturaError("INVALID_STREAM_NAME", STREAM_NAME=name)
    if int(found[2]) != 1:
        raise KalturaError("INGEST_NOT_FOUND_IN_CONVERSION_PROFILE", STREAM_NAME=name)
    return found[1]


def wowza_template(entry: str) -> str:
    """Return a transcoder template of Wowza that passes the source through."""
    stream = escape(f"mp4:{entry}_{SOURCE}")
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<Root><Transcode><Encodes><Encode><Enable>true</Enable>'
        f"<Name>{SOURCE}</Name><StreamName>{stream}</StreamName>"
        "<Video><Codec>PassThru</Codec><Transcoder>Default</Transcoder><GPUID>-1</GPUID>"
        "<FrameSize><FitMode>match-source</FitMode></FrameSize><KeyFrameInterval><FollowSource>true</FollowSource>"
        "<Interval>60</Interval></KeyFrameInterval></Video><Audio><Codec>PassThru</Codec></Audio></Encode></Encodes>"
        "<Decode><Video><Deinterlace>false</Deinterlace></Video></Decode><StreamNameGroups><StreamNameGroup>"
        "<Name>all</Name><StreamName>${SourceStreamName}_all</StreamName>"
        f"<Members><Member><EncodeName>{SOURCE}</EncodeName></Member></Members>"
        "</StreamNameGroup></StreamNameGroups><Properties/></Transcode></Root>\n"
    )
