"""Ways to put access units into PES packets, all of which ISO/IEC 13818-1 allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.media.bitstream.params import split_annexb
from tests.support.ts_mux import Pes


class Timed(Protocol):
    """An access unit with its times."""

    @property
    def stream(self) -> bytes: ...

    @property
    def pts(self) -> int: ...

    @property
    def dts(self) -> int: ...


Layout = Callable[[Sequence[Timed]], list[Pes]]


def one(units: Sequence[Timed]) -> list[Pes]:
    """Put one access unit in each packet, as is usual."""
    return [Pes(u.stream, u.pts, u.dts) for u in units]


def several(count: int) -> Layout:
    """Put `count` access units in each packet, with the timestamps of the first."""

    def lay(units: Sequence[Timed]) -> list[Pes]:
        groups = [units[at : at + count] for at in range(0, len(units), count)]
        return [Pes(b"".join(u.stream for u in g), g[0].pts, g[0].dts) for g in groups]

    return lay


def cut(parts: int, *, stamps: bool) -> Layout:
    """Split each access unit into `parts` packets; those after the first have the same timestamps or none."""

    def lay(units: Sequence[Timed]) -> list[Pes]:
        out = []
        for u in units:
            size = -(-len(u.stream) // parts)
            for number, at in enumerate(range(0, len(u.stream), size)):
                known = stamps or not number
                out.append(Pes(u.stream[at : at + size], u.pts if known else None, u.dts if known else None))
        return out

    return lay


def chunks(size: int) -> Layout:
    """Cut packets of one size, wherever access units start and end."""

    def lay(units: Sequence[Timed]) -> list[Pes]:
        data, begins = b"", []
        for u in units:
            begins.append((len(data), u))
            data += u.stream
        out = []
        for at in range(0, len(data), size):
            u = next((u for start, u in begins if at <= start < at + size), None)
            out.append(Pes(data[at : at + size], u.pts if u else None, u.dts if u else None))
        return out

    return lay


def sparse(every: int) -> Layout:
    """Put one access unit in each packet, with timestamps only on each `every`-th."""

    def lay(units: Sequence[Timed]) -> list[Pes]:
        return [Pes(u.stream, *((None, None) if n % every else (u.pts, u.dts))) for n, u in enumerate(units)]

    return lay


def by_unit(units: Sequence[Timed]) -> list[Pes]:
    """Put each NAL unit in its own packet, with timestamps on the first of a picture."""
    out = []
    for u in units:
        for number, nal in enumerate(split_annexb(u.stream)):
            out.append(Pes(b"\0\0\0\1" + nal, *((None, None) if number else (u.pts, u.dts))))
    return out


LAYOUTS: dict[str, Layout] = {
    "one": one,
    "two-in-one": several(2),
    "three-in-one": several(3),
    "ten-in-one": several(10),
    "halves": cut(2, stamps=False),
    "halves-stamped": cut(2, stamps=True),
    "sevenths": cut(7, stamps=False),
    "chunks-300": chunks(300),
    "chunks-1000": chunks(1000),
    "chunks-9001": chunks(9001),
    "every-third-stamped": sparse(3),
    "every-tenth-stamped": sparse(10),
    "nal-a-packet": by_unit,
}
