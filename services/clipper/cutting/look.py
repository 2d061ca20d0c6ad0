"""Decoding a written clip where its parts meet, as a player would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

import av
import av.container
import numpy as np

from services.clipper.cutting.cut import CutPart, CutResult
from services.clipper.cutting.decode import LEARN, decode_rows, skip_unused
from services.clipper.cutting.joined import joins
from services.clipper.cutting.layout import TrackLayout
from services.clipper.cutting.plan import Candidate
from services.clipper.cutting.prints import fingerprint
from services.clipper.cutting.samples import SampleReader
from shared.media.model import Int64s
from shared.media.seams.errors import ClipFaulty, Stopped

BEFORE, AFTER = 3, 6  # frames checked before and after a seam
NEAR = 60  # windows with fewer frames between them are checked as one: the GOP is decoded anyway
REORDER = 8  # frames by which decoding starts before the window, for pictures shown before their entry
FIRST_PACKETS = 50
# Of sound for one frame at 120 a second, its edit may leave nothing that a decoder gives out.
WHOLE = {"ignore_editlist": "1"}
SHORT = 100_000  # samples; each reader of a longer clip has megabytes of indexes, so there is one
MOST_SEAMS = 12  # of a range with more (many gaps) only the first and last ones are checked
# Mean and largest difference of brightness (0 to 255) that good encoding stays far below.
MEAN_OFF, MOST_OFF = 4.0, 30.0


def check_pictures(result: CutResult, selection: Candidate, video: TrackLayout, stop: Event) -> None:
    """Decode the pictures around every seam, at the start and at the end; ClipFaulty when one is wrong.

    A copied picture that does not decode is accepted when it does not decode in the recording either.
    """
    windows = _windows(result, MOST_SEAMS * (joins(selection) + 1))
    is_long = result.frames + sum(result.packets) > SHORT
    shares = (windows,) if is_long else (windows[::2], windows[1::2])

    def look(share: Sequence[tuple[int, int]]) -> None:
        with av.open(str(result.path)) as container:
            _Look(container, result, selection, video, stop).run(share)

    try:
        with ThreadPoolExecutor(2, "cut-look") as pool:
            for done in [pool.submit(look, share) for share in shares if share]:
                done.result()
    except av.error.FFmpegError as error:
        raise ClipFaulty(f"cannot be read: {error.strerror}") from error


def check_sound(result: CutResult) -> None:
    """Check that of each sound track one of the first packets decodes: damage in the recording may spoil others."""
    for track in range(len(result.packets)):
        try:
            with av.open(str(result.path), options=WHOLE) as container:
                heard = _is_heard(container, track)
        except av.error.FFmpegError as error:
            raise ClipFaulty(f"cannot be read: {error.strerror}") from error
        if not heard:
            raise ClipFaulty("the sound cannot be decoded")


def _is_heard(container: av.container.InputContainer, track: int) -> bool:
    for number, packet in enumerate(container.demux(audio=track)):
        with suppress(av.error.FFmpegError):
            if packet.decode():
                return True
        if number > FIRST_PACKETS:
            break
    return False


@dataclass(eq=False)
class _Look:
    """One check of a clip; frames are numbered from 0 in order of presentation."""

    container: av.container.InputContainer
    result: CutResult
    selection: Candidate
    video: TrackLayout
    stop: Event

    def run(self, windows: Sequence[tuple[int, int]]) -> None:
        times = np.sort(self.video.shown)
        stream = self.container.streams.video[0]
        stream.thread_type = "SLICE"  # see shared/media/transcode/decoder.py
        stream.codec_context.options = {"err_detect": "explode"}
        prints = {found.number: found.cells for found in self.result.prints}
        margin = REORDER * int(np.median(self.video.steps))
        for first, end in windows:
            missing = set(range(first, end))
            for pts, frame in self._decode(int(times[first]), int(times[end - 1]), margin):
                number = int(np.searchsorted(times, pts))
                if number == len(times) or times[number] != pts:
                    raise ClipFaulty(f"a frame is shown at {pts}, where none should be")
                missing.discard(number)
                if number in prints:
                    off = np.abs(fingerprint(frame) - prints.pop(number))
                    if float(off.mean()) > MEAN_OFF or float(off.max()) > MOST_OFF:
                        raise ClipFaulty(f"frame {number} does not look like the recording's")
            for part in self.result.parts if missing else ():
                lost = [n for n in sorted(missing) if part.first <= n < part.first + part.count]
                found = self._recorded(lost) if part.kind == "copy" else self._lost_alone(part, lost, times)
                if found:
                    raise ClipFaulty(f"frame {found[0]} cannot be decoded")

    def _decode(
        self, first: int, last: int, margin: int, *, alone: bool = False
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode strictly the frames shown from tick `first` to `last`, starting at the entry before them.

        `alone`: an entry lies at `first`, and nothing shown after `last` is decoded.
        """
        stream = self.container.streams.video[0]
        spoiled: set[int | None] = set()
        whole = first - LEARN * int(np.median(self.video.steps))
        self.container.seek(max(first - margin, 0), stream=stream, backward=True)
        for packet in self.container.demux(stream):
            if self.stop.is_set():
                raise Stopped("stopped while checking")
            if alone and packet.pts is not None and not first <= packet.pts <= last:
                continue
            skip_unused(stream.codec_context, before=packet.pts is not None and packet.pts < whole)
            for pts, frame in _strict(packet, spoiled):
                yield pts, frame
                if pts >= last:
                    return

    def _lost_alone(self, part: CutPart, lost: Sequence[int], times: Int64s) -> list[int]:
        """Return the encoded frames that do not decode even without the damaged copied ones after them."""
        if not lost:
            return []
        bounds = int(times[part.first]), int(times[part.first + part.count - 1])
        seen = {pts for pts, _ in self._decode(*bounds, 0, alone=True)}
        return [number for number in lost if int(times[number]) not in seen]

    def _recorded(self, lost: Sequence[int]) -> list[int]:
        """Return the frames that decode in the recording, unlike in the clip: those without damage near them.

        Near, because at damage a decoder may also lose a whole picture that it was about to show.
        """
        found: list[int] = []
        first = 0
        for span in self.selection.pictured:
            video, count = span.video, len(span.frames)
            inside = [n for n in lost if first <= n < first + count]
            if inside:
                low, high = max(inside[0] - REORDER, first), min(inside[-1] + REORDER + 1, first + count)
                rows = span.frames[np.argsort(video.at[span.frames])][low - first : high - first]
                with SampleReader(video.table) as reader:
                    shown = decode_rows(video, rows, reader, self.stop, strict=True)
                    broken = [number for number, frame in enumerate(shown, low) if not frame.whole]
                found += [n for n in inside if all(abs(n - other) > REORDER for other in broken)]
            first += count
        return found


def _windows(result: CutResult, most: int) -> list[tuple[int, int]]:
    """Return the windows of frames, [first, end), to check: around each seam, at the start and at the end."""
    seams = [part.first for part in result.parts] + [result.frames]
    if len(seams) > most:
        seams = seams[: most // 2] + seams[-most // 2 :]
    windows: list[tuple[int, int]] = []
    for seam in seams:
        first, end = max(seam - BEFORE, 0), min(seam + AFTER, result.frames)
        if windows and first - windows[-1][1] < NEAR:
            windows[-1] = windows[-1][0], end
        else:
            windows.append((first, end))
    return windows


def _strict(packet: av.Packet[av.VideoStream], spoiled: set[int | None]) -> list[tuple[int, av.VideoFrame]]:
    """Decode a packet; leave out damaged pictures, which are checked against the recording later."""
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        spoiled.add(packet.pts)
        return []
    whole = [frame for frame in frames if not frame.is_corrupt and frame.pts not in spoiled]
    return [(frame.pts, frame) for frame in whole if frame.pts is not None]
