"""Statistics of an SRT connection: struct CBytePerfMon of srtcore/srt.h (libsrt 1.5)."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_int64, c_uint64
from dataclasses import dataclass
from typing import Any, ClassVar, Final

_I: Final = c_int
_L: Final = c_int64
_U: Final = c_uint64
_D: Final = c_double

_TOTALS: Final = (
    ("msTimeStamp", _L), ("pktSentTotal", _L), ("pktRecvTotal", _L),
    ("pktSndLossTotal", _I), ("pktRcvLossTotal", _I), ("pktRetransTotal", _I),
    ("pktSentACKTotal", _I), ("pktRecvACKTotal", _I), ("pktSentNAKTotal", _I), ("pktRecvNAKTotal", _I),
    ("usSndDurationTotal", _L), ("pktSndDropTotal", _I), ("pktRcvDropTotal", _I), ("pktRcvUndecryptTotal", _I),
    ("byteSentTotal", _U), ("byteRecvTotal", _U), ("byteRcvLossTotal", _U), ("byteRetransTotal", _U),
    ("byteSndDropTotal", _U), ("byteRcvDropTotal", _U), ("byteRcvUndecryptTotal", _U),
)  # fmt: skip
_INTERVAL: Final = (
    ("pktSent", _L), ("pktRecv", _L), ("pktSndLoss", _I), ("pktRcvLoss", _I), ("pktRetrans", _I),
    ("pktRcvRetrans", _I), ("pktSentACK", _I), ("pktRecvACK", _I), ("pktSentNAK", _I), ("pktRecvNAK", _I),
    ("mbpsSendRate", _D), ("mbpsRecvRate", _D), ("usSndDuration", _L), ("pktReorderDistance", _I),
    ("pktRcvAvgBelatedTime", _D), ("pktRcvBelated", _L),
    ("pktSndDrop", _I), ("pktRcvDrop", _I), ("pktRcvUndecrypt", _I),
    ("byteSent", _U), ("byteRecv", _U), ("byteRcvLoss", _U), ("byteRetrans", _U),
    ("byteSndDrop", _U), ("byteRcvDrop", _U), ("byteRcvUndecrypt", _U),
)  # fmt: skip
_INSTANT: Final = (
    ("usPktSndPeriod", _D), ("pktFlowWindow", _I), ("pktCongestionWindow", _I), ("pktFlightSize", _I),
    ("msRTT", _D), ("mbpsBandwidth", _D), ("byteAvailSndBuf", _I), ("byteAvailRcvBuf", _I),
    ("mbpsMaxBW", _D), ("byteMSS", _I),
    ("pktSndBuf", _I), ("byteSndBuf", _I), ("msSndBuf", _I), ("msSndTsbPdDelay", _I),
    ("pktRcvBuf", _I), ("byteRcvBuf", _I), ("msRcvBuf", _I), ("msRcvTsbPdDelay", _I),
    ("pktSndFilterExtraTotal", _I), ("pktRcvFilterExtraTotal", _I),
    ("pktRcvFilterSupplyTotal", _I), ("pktRcvFilterLossTotal", _I),
    ("pktSndFilterExtra", _I), ("pktRcvFilterExtra", _I), ("pktRcvFilterSupply", _I), ("pktRcvFilterLoss", _I),
    ("pktReorderTolerance", _I),
    ("pktSentUniqueTotal", _L), ("pktRecvUniqueTotal", _L), ("byteSentUniqueTotal", _U),
    ("byteRecvUniqueTotal", _U), ("pktSentUnique", _L), ("pktRecvUnique", _L), ("byteSentUnique", _U),
    ("byteRecvUnique", _U),
)  # fmt: skip


class PerfMon(ctypes.Structure):
    """CBytePerfMon; later versions of libsrt only add fields at its end, into the reserved room."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [*_TOTALS, *_INTERVAL, *_INSTANT, ("reserved", c_int64 * 32)]


@dataclass(frozen=True, slots=True)
class SrtStats:
    """Totals of a connection since its start, and its present round-trip time and buffer."""

    packets_received: int = 0
    bytes_received: int = 0
    packets_lost: int = 0  # missing at first; retransmission brings most of them
    packets_dropped: int = 0  # did not arrive in time: missing from the data read
    packets_undecryptable: int = 0
    packets_sent: int = 0
    packets_retransmitted: int = 0  # received twice or late (receiver), sent again (sender)
    rtt_us: int = 0
    buffered_ms: int = 0
    latency_ms: int = 0


def from_perfmon(raw: PerfMon) -> SrtStats:
    """Return the statistics that Reelay reports; the interval counters must never have been cleared."""
    return SrtStats(
        packets_received=raw.pktRecvTotal,
        bytes_received=raw.byteRecvTotal,
        packets_lost=raw.pktRcvLossTotal,
        packets_dropped=raw.pktRcvDropTotal,
        packets_undecryptable=raw.pktRcvUndecryptTotal,
        packets_sent=raw.pktSentTotal,
        packets_retransmitted=max(raw.pktRcvRetrans, raw.pktRetransTotal),
        rtt_us=round(raw.msRTT * 1000),
        buffered_ms=raw.msRcvBuf,
        latency_ms=raw.msRcvTsbPdDelay,
    )
