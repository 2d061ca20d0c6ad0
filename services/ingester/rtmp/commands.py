"""The answers to a publisher's commands (RTMP 1.0, section 7; Veovera, "Enhanced RTMP v2")."""

from __future__ import annotations

from collections.abc import Mapping

from services.ingester.refusals import Why
from services.ingester.rtmp.reader import AUDIO_CODECS, VIDEO_CODECS
from shared.rtmp.cursor import Value

_CAN_FORWARD = 4.0
_CAPS_MOD_EX = 4.0


def connect_result(encoding: Value) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
    """Return properties and information of a successful connect, with the enhanced codecs that are supported.

    `encoding` is the client's objectEncoding, echoed: with 3.0 it wraps commands in AMF3 messages, which can be read.
    """
    properties: dict[str, Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0, "mode": 1.0}
    info: dict[str, Value] = {
        **status("status", "NetConnection.Connect.Success", "Connection succeeded."),
        "objectEncoding": 3.0 if encoding == 3 else 0.0,
        "fourCcList": [
            *VIDEO_CODECS,
            *AUDIO_CODECS,
        ],  # only recorded codecs: a client that reads the list may send any of them
        "videoFourCcInfoMap": dict.fromkeys(VIDEO_CODECS, _CAN_FORWARD),
        "audioFourCcInfoMap": dict.fromkeys(AUDIO_CODECS, _CAN_FORWARD),
        "capsEx": _CAPS_MOD_EX,
    }
    return properties, info


def refusal_code(why: Why) -> str:
    """Return the status code with which encoders show a refusal correctly.

    GStreamer reads Denied as "not authorized" and BadName as "stream already exists"; librtmp's descendants disconnect
    on these, Rejected and Failed; OBS and GStreamer show code and description, FFmpeg only the description.
    """
    if why == "taken":
        return "NetStream.Publish.BadName"
    if why == "unsupported":
        return "NetStream.Publish.Rejected"
    return "NetStream.Failed" if why in {"disk_full", "later"} else "NetStream.Publish.Denied"


def status(level: str, code: str, description: str) -> dict[str, Value]:
    """Return the information object of an onStatus or a result."""
    return {"level": level, "code": code, "description": description}
