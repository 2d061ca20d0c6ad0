"""RTMP commands: what they say, and the answers (RTMP 1.0, section 7; Veovera, "Enhanced RTMP v2")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.ingester.rtmp import chunks
from services.ingester.rtmp.amf import decode
from services.ingester.rtmp.chunks import Message
from services.ingester.rtmp.cursor import Value
from services.ingester.rtmp.errors import ProtocolError
from services.ingester.rtmp.limits import RtmpLimits

VIDEO_FOURCCS = ("avc1", "hvc1", "av01", "vp09")
AUDIO_FOURCCS = ("mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3")
_CAN_FORWARD = 4.0
_CAPS_MOD_EX = 4.0


class Command(NamedTuple):
    """A command message: its name, transaction id, and all that follows."""

    name: str
    transaction: float
    values: list[Value]
    stream_id: int

    def text(self, index: int) -> str:
        """Give a value that has to be text; empty when it is missing or something else."""
        value = self.values[index] if index < len(self.values) else None
        return value if isinstance(value, str) else ""

    def mapping(self, index: int) -> Mapping[str, Value]:
        """Give a value that has to be an object; empty when it is missing or something else."""
        value = self.values[index] if index < len(self.values) else None
        return value if isinstance(value, Mapping) else {}


def read_values(message: Message, limits: RtmpLimits, *, strict: bool = True) -> list[Value]:
    """Decode a command or data message, in AMF0 or in the AMF3 wrapper (a zero byte, then AMF0)."""
    body = bytes(message.payload)
    if message.kind in (chunks.COMMAND_AMF3, chunks.DATA_AMF3):
        body = body[1:]
    return decode(body, depth=limits.amf_depth, values=limits.amf_values, strict=strict)


def read_command(message: Message, limits: RtmpLimits) -> Command:
    """Decode a command message; raises ProtocolError when it has no name."""
    values = read_values(message, limits)
    if not values or not isinstance(values[0], str):
        raise ProtocolError("command without a name")
    transaction = values[1] if len(values) > 1 else None
    number = transaction if isinstance(transaction, float) else 0.0
    return Command(values[0], number, values[2:], message.stream_id)


def connect_result(encoding: Value) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
    """Give properties and information of a successful connect, with the enhanced codecs that we take.

    `encoding` is the client's objectEncoding, echoed: 3.0 makes it wrap commands in AMF3 messages, which are read.
    """
    properties: dict[str, Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0, "mode": 1.0}
    info: dict[str, Value] = {
        **status("status", "NetConnection.Connect.Success", "Connection succeeded."),
        "objectEncoding": 3.0 if encoding == 3 else 0.0,
        "fourCcList": [*VIDEO_FOURCCS, *AUDIO_FOURCCS],
        "videoFourCcInfoMap": dict.fromkeys(VIDEO_FOURCCS, _CAN_FORWARD),
        "audioFourCcInfoMap": dict.fromkeys(AUDIO_FOURCCS, _CAN_FORWARD),
        "capsEx": _CAPS_MOD_EX,
    }
    return properties, info


def status(level: str, code: str, description: str) -> dict[str, Value]:
    """Give the information object of an onStatus or a result."""
    return {"level": level, "code": code, "description": description}
