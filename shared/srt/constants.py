"""Numbers of libsrt's C API that Reelay uses.

Source: srtcore/srt.h and srtcore/access_control.h of libsrt 1.5 (Haivision SRT).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

INVALID_SOCKET: Final = -1
ERROR: Final = -1
LOG_CRIT: Final = 2  # syslog's level: libsrt itself prints messages of this level or worse
EPOLL_IN: Final = 0x1
EPOLL_OUT: Final = 0x4
EPOLL_ERR: Final = 0x8

LIVE_PAYLOAD: Final = 1316  # seven MPEG-TS packets, as live encoders send in a datagram
LIVE_PAYLOAD_MAX: Final = 1456  # MTU 1500 without the headers of IP, UDP (28) and SRT (16)
PACKET_UNIT: Final = 1472  # bytes that SRTO_RCVBUF counts per packet: MTU 1500 - 28
STREAMID_MAX: Final = 512
PASSPHRASE_MIN: Final = 10
PASSPHRASE_MAX: Final = 79


class Option(IntEnum):
    """SRT_SOCKOPT."""

    SNDSYN = 1
    RCVSYN = 2
    FC = 4
    SNDBUF = 5
    RCVBUF = 6
    LINGER = 7
    UDP_RCVBUF = 9
    SNDTIMEO = 13
    RCVTIMEO = 14
    MAXBW = 16
    STATE = 17
    SNDDATA = 19
    RCVDATA = 20
    TSBPDMODE = 22
    INPUTBW = 24
    OHEADBW = 25
    PASSPHRASE = 26
    PBKEYLEN = 27
    TLPKTDROP = 31
    VERSION = 34
    PEERVERSION = 35
    CONNTIMEO = 36
    RCVKMSTATE = 41
    RCVLATENCY = 43
    PEERLATENCY = 44
    MINVERSION = 45
    STREAMID = 46
    PAYLOADSIZE = 49
    TRANSTYPE = 50
    ENFORCEDENCRYPTION = 53
    IPV6ONLY = 54
    PEERIDLETIMEO = 55


BOOLEANS: Final = frozenset(
    {Option.SNDSYN, Option.RCVSYN, Option.TSBPDMODE, Option.TLPKTDROP, Option.ENFORCEDENCRYPTION}
)
INT64S: Final = frozenset({Option.MAXBW, Option.INPUTBW})


class SocketState(IntEnum):
    """SRT_SOCKSTATUS."""

    INIT = 1
    OPENED = 2
    LISTENING = 3
    CONNECTING = 4
    CONNECTED = 5
    BROKEN = 6
    CLOSING = 7
    CLOSED = 8
    NONEXIST = 9


class Errno(IntEnum):
    """SRT_ERRNO: the codes that Reelay distinguishes."""

    UNKNOWN = -1
    SUCCESS = 0
    ENOSERVER = 1001  # no answer in time
    ECONNREJ = 1002
    ECONNLOST = 2001
    ENOCONN = 2002
    EINVPARAM = 5003
    EINVSOCK = 5004
    EASYNCSND = 6001
    EASYNCRCV = 6002  # nothing to read now
    ETIMEOUT = 6003


class Reject(IntEnum):
    """SRT_REJECT_REASON, and the access control codes (HTTP's, plus 1000) that a listener may send."""

    UNKNOWN = 0
    SYSTEM = 1
    PEER = 2
    RESOURCE = 3
    ROGUE = 4
    BACKLOG = 5
    IPE = 6
    CLOSE = 7
    VERSION = 8
    RDVCOOKIE = 9
    BADSECRET = 10
    UNSECURE = 11
    MESSAGEAPI = 12
    CONGESTION = 13
    FILTER = 14
    GROUP = 15
    TIMEOUT = 16
    BAD_REQUEST = 1400
    UNAUTHORIZED = 1401
    OVERLOAD = 1402
    FORBIDDEN = 1403
    NOT_FOUND = 1404
    BAD_MODE = 1405
    CONFLICT = 1409
    UNSUPPORTED_MEDIA = 1415
    INTERNAL = 1500
    DOWN = 1503
    NO_ROOM = 1507
