"""From a call of the CDNetworks API to commands for restreams. Pure, except for the checks of URLs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final, cast, get_args
from urllib.parse import unquote

from services.gateway.domain.errors import TooLarge, invalid
from services.gateway.domain.ids import is_id
from services.gateway.domain.receivers import Receivers
from services.gateway.domain.restreams.parts import Parts, file_range, restream_id, wall_range
from services.gateway.domain.restreams.values import first_of, frame_rate
from services.gateway.domain.subscriptions.contexts import Contexts
from services.gateway.facades.cdnetworks.models import ExtendParam, Fops, ForwardRequest, Src, Task
from shared.messages.restream_commands import Order, RestreamCommand, Resume, Start, Stop, Update
from shared.messages.restreams import (
    HIGHEST,
    MOST_RANGES,
    WIDEST,
    Corner,
    Encoding,
    Item,
    LiveInsert,
    Playlist,
    Range,
    RestreamSpec,
    Target,
    Watermark,
)
from shared.messages.subscriptions import Subscription, SubscriptionContext

FORM: Final = "cdnetworks"
MOST_SRCURL: Final = 100_000  # sealed; each callback repeats it
LEAST_LENGTH: Final = timedelta(minutes=5)
_MS: Final = timedelta(milliseconds=1)
_CORNERS: Final = frozenset(get_args(Corner))
_SIZE: Final = re.compile(r"(\d{1,6})\s*[xX*\u00d7]\s*(\d{1,6})", re.ASCII)
_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*-\s*(\d{1,9}(?:\.\d{1,9})?)?", re.ASCII)
_STAMPS: Final = re.compile(r"(\d{14})\s*-\s*(\d{14})", re.ASCII)
_PLAIN: Final = re.compile(r"[0-9][0-9./ ]*$", re.ASCII)
_VIDEO: Final = {"libx264": "libx264", "libx265": "libx265", "libvpx": "libvpx", "libvpx-vp9": "libvpx-vp9"}
_AUDIO: Final = {
    "libfaac": "aac", "libfdk_aac": "aac", "aac": "aac", "libmp3lame": "libmp3lame", "libopus": "libopus",
}  # fmt: skip
MakeCommand = Callable[[str, str, Order], RestreamCommand]


@dataclass(frozen=True, slots=True)
class Ordered:
    """A task's command, and the context of its callbacks, which must be stored before it."""

    command: RestreamCommand
    context: SubscriptionContext | None


@dataclass(frozen=True, slots=True)
class Translator:
    """Makes the commands of a call. Raises Invalid, which names the bad field."""

    account: str
    parts: Parts
    contexts: Contexts
    receivers: Receivers
    make: MakeCommand
    now_ms: int

    def orders(self, asked: ForwardRequest, raw: dict[str, Any]) -> list[Ordered]:
        """Translate all tasks, or none. `raw` is the body as received: callbacks repeat its src lists."""
        return [self._ordered(f"list[{n}]", asked, task, raw["list"][n]) for n, task in enumerate(asked.list)]

    def _ordered(self, field: str, asked: ForwardRequest, task: Task, raw: dict[str, Any]) -> Ordered:
        verbs = {"1": self._start, "2": self._stop, "3": self._update, "5": self._resume}
        url = self._told(asked)
        context = self._context(asked, task, raw) if url else None
        told = Subscription(form=FORM, url=url, context=context.context) if context else None
        order = verbs[asked.cmd](field, task, told)
        return Ordered(self.make(self.account, restream_id(self.account, task.id), order), context)

    def _start(self, field: str, task: Task, told: Subscription | None) -> Order:
        return Start(spec=self._spec(field, task, told))

    def _stop(self, field: str, task: Task, told: Subscription | None) -> Order:
        for name in ("start", "end"):
            if getattr(task, name) is not None:
                raise invalid(f"{field}.{name}", "is not contained in a termination")
        return Stop(only=tuple(t.target for t in self._targets(field, task)), subscription=told)

    def _update(self, field: str, task: Task, told: Subscription | None) -> Order:
        extra = task.extendParam or ExtendParam()
        spec = self._spec(field, task, told)
        playlist = {name: getattr(spec, name) for name in Playlist.model_fields}
        return Update(**playlist, wait_current=extra.waitCrtUrlFinish == 1)

    def _resume(self, field: str, task: Task, told: Subscription | None) -> Order:
        if task.fops is not None:
            raise invalid(f"{field}.fops", "playback resuming takes no fops")
        extra = task.extendParam or ExtendParam()
        if extra.model_fields_set - {"resetUrl"}:
            raise invalid(f"{field}.extendParam", "playback resuming takes resetUrl alone")
        reset: dict[str, Target] = {}
        for number, forward in enumerate(task.forward):
            url = forward.resetUrl or (extra.resetUrl if len(task.forward) == 1 else "")
            if url:
                old = self.parts.target(f"{field}.forward[{number}].url", forward.url)
                reset[old.target] = self.parts.target(f"{field}.forward[{number}].resetUrl", url)
        if extra.resetUrl and len(task.forward) > 1:
            raise invalid(f"{field}.extendParam.resetUrl", "belongs into forward when there are several")
        return Resume(spec=self._spec(field, task, told), reset=reset)

    def _spec(self, field: str, task: Task, told: Subscription | None) -> RestreamSpec:
        if not task.src:
            raise invalid(f"{field}.src", "must name at least one file")
        extra = task.extendParam or ExtendParam()
        start, end = self._times(field, task)
        return RestreamSpec(
            name=task.id,
            items=tuple(self._item(f"{field}.src[{n}]", src) for n, src in enumerate(task.src)),
            targets=self._targets(field, task),
            loops=extra.loop or 0,
            first=first_of(extra.index or 1, len(task.src), f"{field}.extendParam.index"),
            start_ms=start,
            end_ms=end,
            encoding=_encoding(f"{field}.fops", task),
            live=_live(f"{field}.extendParam", extra),
            subscription=told,
        )

    def _item(self, field: str, src: Src) -> Item:
        return Item(
            source=self.parts.source(f"{field}.url", src.url),
            ranges=_ranges(field, src),
            watermark=self._watermark(field, src) if src.wmimage else None,
        )

    def _watermark(self, field: str, src: Src) -> Watermark:
        corner = src.wmposition or "TOP_LEFT"
        if corner not in _CORNERS:
            raise invalid(f"{field}.wmposition", f"must be one of {', '.join(sorted(_CORNERS))}")
        extras = {"margin": src.wmmargin, "scale": src.wmscale, "opacity": src.wmopacity}
        for name, value in extras.items():
            if value is not None and not (name == "opacity") <= value <= (1024 if name == "margin" else 100):
                raise invalid(f"{field}.wm{name}", "is out of range")
        return Watermark(
            source=self.parts.source(f"{field}.wmimage", _unescaped(src.wmimage)),
            corner=cast("Corner", corner),
            **{name: value for name, value in extras.items() if value is not None},
        )

    def _targets(self, field: str, task: Task) -> tuple[Target, ...]:
        return self.parts.targets((f"{field}.forward[{n}].url", f.url) for n, f in enumerate(task.forward))

    def _times(self, field: str, task: Task) -> tuple[int | None, int | None]:
        least = LEAST_LENGTH // _MS
        if task.end is not None and task.end <= max(self.now_ms, task.start or 0) + least:
            raise invalid(f"{field}.end", "must be more than 5 minutes later than start and the current time")
        return task.start, task.end

    def _told(self, asked: ForwardRequest) -> str:
        """Return the callback URL, sealed; empty when there is none."""
        url = asked.transcallbackurl
        return self.receivers.sealed(self.receivers.checked("transcallbackurl", url)) if url else ""

    def _context(self, asked: ForwardRequest, task: Task, raw: dict[str, Any]) -> SubscriptionContext:
        """Return what the callbacks repeat. A resume has no callBackFileInfo: it keeps that of the call before."""
        words: dict[str, Any] = {"id": task.id, "cmd": asked.cmd}
        if asked.cmd != "5":
            extra = task.extendParam or ExtendParam()
            words["files"] = extra.callBackFileInfo == 1
        srcurl = json.dumps(raw.get("src") or [], separators=(",", ":"), ensure_ascii=False)
        sealed = self.contexts.sealed(srcurl)
        if len(sealed) > MOST_SRCURL:
            raise TooLarge("src is too long for callbacks; use fewer or shorter URLs, or no transcallbackurl")
        known_by = json.dumps([FORM, words, srcurl])
        return self.contexts.made(
            self.account, restream_id(self.account, task.id), {**words, "srcurl": sealed}, known_by
        )


def _unescaped(url: str) -> str:
    """Undo the escaping of a wmimage: "if there is & in url, then url character escaping is needed" (the page)."""
    return unquote(url) if "://" not in url else re.sub("%26|&amp;", "&", url)


def _ranges(field: str, src: Src) -> tuple[Range, ...]:
    """Parse the parts to play; relofftime has precedence over absofftime."""
    name, text = ("relofftime", src.relofftime) if src.relofftime else ("absofftime", src.absofftime)
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if len(parts) > MOST_RANGES:
        raise invalid(f"{field}.{name}", f"has at most {MOST_RANGES} ranges")
    read = _relative if name == "relofftime" else _absolute
    return tuple(read(f"{field}.{name}", part) for part in parts)


def _relative(field: str, text: str) -> Range:
    found = _SECONDS.fullmatch(text)
    if not found:
        raise invalid(field, "must be start-end in seconds, as 300-500")
    return file_range(field, Fraction(found[1]), Fraction(found[2]) if found[2] else None)


def _absolute(field: str, text: str) -> Range:
    found = _STAMPS.fullmatch(text)
    if not found:
        raise invalid(field, "must be yyyymmddHHMMSS-yyyymmddHHMMSS")
    return wall_range(field, _stamp(field, found[1]), _stamp(field, found[2]))


def _stamp(field: str, text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError as error:
        raise invalid(field, f"{text} is no time (yyyymmddHHMMSS)") from error


def _live(field: str, extra: ExtendParam) -> LiveInsert | None:
    if not extra.liveEvent:
        return None
    if not is_id(extra.liveEvent):
        raise invalid(f"{field}.liveEvent", "must be the id of a live job")
    return LiveInsert(event=extra.liveEvent, back=extra.liveReturn != 0)


def _encoding(field: str, task: Task) -> Encoding | None:
    """Parse fops. The page's own sample has res and fps swapped, so each is recognized by its form."""
    fops = task.fops
    if fops is None or not any((fops.bps, fops.res, fops.fps, fops.vcodec, fops.acodec)):
        return None
    if not fops.vcodec:
        raise invalid(f"{field}.vcodec", "is needed for transcoding")
    video = _VIDEO.get(fops.vcodec.lower())
    if video is None:
        raise invalid(f"{field}.vcodec", f"must be one of {', '.join(_VIDEO)}")
    audio = _AUDIO.get(fops.acodec.lower() or "aac")
    if audio is None:
        raise invalid(f"{field}.acodec", f"must be one of {', '.join(_AUDIO)}: no target carries others")
    if any(src.wmimage for src in task.src):
        video = "libx264"  # the page: fixed to libx264 when watermarking is required
    size, rate = _size_and_rate(field, fops)
    return Encoding(
        video=cast("Any", video),
        audio=cast("Any", audio),
        kbps=_kbps(f"{field}.bps", fops.bps),
        width=size and size[0],
        height=size and size[1],
        rate_num=rate.numerator if rate else None,
        rate_den=rate.denominator if rate else 1,
    )


def _size_and_rate(field: str, fops: Fops) -> tuple[tuple[int, int] | None, Fraction | None]:
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    for name, text in (("res", fops.res), ("fps", fops.fps)):
        if not text:
            continue
        found = _SIZE.fullmatch(text)
        if (size if found else rate) is not None:
            raise invalid(f"{field}.{name}", f"is a second {'size' if found else 'frame rate'}")
        if found:
            size = (int(found[1]), int(found[2]))
            if not (16 <= size[0] <= WIDEST and 16 <= size[1] <= HIGHEST) or size[0] % 2 or size[1] % 2:
                raise invalid(f"{field}.{name}", f"must have even sides, from 16x16 to {WIDEST}x{HIGHEST}")
        elif name == "res" and not _PLAIN.match(text):
            raise invalid(f"{field}.res", "must be width x height, as 1280x720")
        else:
            rate = frame_rate(f"{field}.{name}", text)
    return size, rate


def _kbps(field: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 50 <= int(text[:9]) <= 100_000:
        raise invalid(field, "must be a bit rate in kbit/s, a whole number from 50 to 100000")
    return int(text)
