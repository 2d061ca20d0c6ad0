"""All targets of a restream (ADR 14): `Targets` implements playout's `Outputs`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from services.restreamer.model import TargetSpec, Unit
from services.restreamer.targets.addresses import RtmpAddress, SrtAddress, read_address
from services.restreamer.targets.call import Opener
from services.restreamer.targets.rtmp.ahead import AheadPacker, Packed
from services.restreamer.targets.rtmp.call import call_rtmp
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.rules import TargetRules
from services.restreamer.targets.shared_muxer import Recent, SharedMuxer
from services.restreamer.targets.srt.line import await_srt, call_srt
from services.restreamer.targets.srt.ts import TsPacker
from services.restreamer.targets.target import TargetConnection
from services.restreamer.targets.terms import Packer, TargetError
from shared.messages.restreams import TargetStatus
from shared.runtime.clock import Clock, to_ns

_PACKERS: Final[dict[str, Callable[[], Packer]]] = {"rtmp": RtmpPacker, "srt": TsPacker}
_STEP: Final = timedelta(milliseconds=10)
_LOOK_NS: Final = 200_000_000
"""How often a target for which nothing waits is checked."""


class Targets:
    """Sends to all targets of a restream, which `about` names in log lines. One thread calls it, the pacer.

    No call waits for a target except `close`, which takes up to `rules.farewell`. Connecting runs in threads of its
    own, at most one per target.
    """

    def __init__(self, rules: TargetRules, clock: Clock, about: Mapping[str, object] | None = None) -> None:
        self._about = about
        self._rules = rules
        self._clock = clock
        self._recent = Recent()
        self._ahead = AheadPacker()
        self._lanes: dict[str, SharedMuxer] = {}
        self._targets: dict[str, TargetConnection] = {}
        self._leaving: list[TargetConnection] = []
        self._removed: dict[str, tuple[TargetStatus, int]] = {}
        self._look_ns = 0

    def prepare(self, units: Sequence[Unit]) -> Packed | None:
        """Pack units for RTMP, if a target needs it."""
        return self._ahead.pack(units, wanted="rtmp" in self._lanes)

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        """Pack units once per format and send them; a picture and its sound are best passed together."""
        now_ns = self._clock.monotonic_ns()
        ready = ready if isinstance(ready, Packed) else None
        self._recent.add(units, 0 if ready is None else len(ready.block.data))
        for form, lane in self._lanes.items():
            blocks = lane.feed(units, ready if form == "rtmp" else None)
            if blocks:
                for target in self._targets.values():
                    if target.lane is lane:
                        target.put(blocks, now_ns)

    def tick(self) -> None:
        """Read answers, finish connecting, reconnect, send what waits."""
        now_ns = self._clock.monotonic_ns()
        everyone = now_ns >= self._look_ns
        if everyone:
            self._look_ns = now_ns + _LOOK_NS
        for target in self._targets.values():
            if everyone or not target.content:
                target.tick(now_ns)
        if self._removed or self._leaving:
            self._part(now_ns)

    def _part(self, now_ns: int) -> None:
        """Continue the goodbyes; drop targets that were removed long ago."""
        self._leaving = [target for target in self._leaving if not target.left(now_ns)]
        shown_ns = to_ns(self._rules.shown_removed)
        for name in [name for name, (_, since_ns) in self._removed.items() if now_ns - since_ns > shown_ns]:
            del self._removed[name]

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Start connecting to new targets, and leave those that are no longer named."""
        now_ns = self._clock.monotonic_ns()
        wanted = {spec.target: spec for spec in targets}
        for name in self._targets.keys() - wanted.keys():
            self._remove(self._targets.pop(name), now_ns)
        for name, spec in wanted.items():
            if name in self._targets:
                self._targets[name].spec = spec
            else:
                self._removed.pop(name, None)
                self._targets[name] = self._add(spec)
        self._targets = {name: self._targets[name] for name in wanted}
        used = {target.lane for target in self._targets.values()}
        self._lanes = {form: lane for form, lane in self._lanes.items() if lane in used}

    def states(self) -> tuple[TargetStatus, ...]:
        """Return each target's state in the order given; then those that were removed within the last minute."""
        removed = (status for status, _ in self._removed.values())
        return (*(target.status() for target in self._targets.values()), *removed)

    def close(self) -> None:
        """Leave all targets, and wait a little until they have received the goodbye."""
        self.set_targets(())
        for _ in range(self._rules.farewell // _STEP):
            self.tick()
            if not self._leaving:
                return
            time.sleep(_STEP.total_seconds())
        late_ns = self._clock.monotonic_ns() + to_ns(self._rules.farewell) * 2
        self._leaving = [target for target in self._leaving if not target.left(late_ns)]

    def _add(self, spec: TargetSpec) -> TargetConnection:
        opener: Opener | None = None
        refusal, form = "", "srt" if spec.url[:4].lower() == "srt:" else "rtmp"
        try:
            address = read_address(spec.url, allowed=self._rules.allowed, srt_ports=self._rules.srt_ports)
            opener = _opener(address, self._rules, self._clock)
        except TargetError as error:
            refusal = str(error)
        return TargetConnection(spec, self._lane(form), opener, self._rules, self._clock, refusal, self._about)

    def _lane(self, form: str) -> SharedMuxer:
        """Return a format's lane; a new one starts with the units since the last keyframe."""
        if form not in self._lanes:
            lane = self._lanes[form] = SharedMuxer(_PACKERS[form](), self._recent.tracks)
            lane.feed(self._recent.units)
        return self._lanes[form]

    def _remove(self, target: TargetConnection, now_ns: int) -> None:
        target.leave(now_ns)
        self._leaving.append(target)
        self._removed[target.spec.target] = (target.status(), now_ns)


def _opener(address: RtmpAddress | SrtAddress, rules: TargetRules, clock: Clock) -> Opener:
    if isinstance(address, RtmpAddress):
        return partial(call_rtmp, address, rules, clock)
    return partial(await_srt if address.mode == "listener" else call_srt, address, rules, clock)
