"""A live job as a Media: each of its sessions from a keyframe of its last seconds on, until the job has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Final

from services.restreamer.model import Packet, SourceError
from services.restreamer.sources.access import Access, Stopped, rest
from services.restreamer.sources.recorded.live import LiveMedia
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.recording.log import newest
from shared.runtime.logging import get_logger

log = get_logger()
LOOK: Final = timedelta(milliseconds=500)
LATE: Final = timedelta(seconds=5)
"""A store that is away for longer is not waited for: what is newest then is played."""


class JobOver(SourceError):  # noqa: N818  it names what happened
    """The job has ended, so that nothing more comes."""

    def __init__(self) -> None:
        super().__init__("the live job has ended")


class FollowedJob(LiveMedia):
    """A job's stream. It waits for the first session, and for the next one, however long its encoder stays away.

    What cannot be read is left out: it goes on, after a seam, with what is newest as soon as that can be read. Nothing
    of a session that is over is played: what is sent on is live.
    """

    def __init__(self, event: str, access: Access, stop: Event) -> None:
        self._jobs = Bucket(access.js, buckets.JOBS, JobRecord)
        self._played = ("", -1)  # session and sequence of the last segment of which something was yielded
        self._reason = ""
        limits = replace(access.limits, outage=min(access.limits.outage, LATE))
        super().__init__(event, replace(access, limits=limits), stop)

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield packets as they come, until a seam or the job's end. SourceError when nothing was ever readable."""
        while True:
            shown = False
            try:
                for packet in super().packets(start):
                    self._played = self._place
                    shown = shown or packet.kind == "video" or self.video is None
                    yield packet
            except SourceError as error:
                if isinstance(error, Stopped) or (error.lasting and not self._played[0]):
                    raise
                self._tell(error)
            else:
                return
            tracks = self.video, self.audio
            try:
                self._begin()
            except JobOver:
                return
            if shown or (self.video, self.audio) != tracks:
                self.resumes = self._opened.first
                return

    @property
    def _place(self) -> tuple[str, int]:
        return self._opened.segment.session, self._opened.segment.sequence

    def _begin(self) -> None:
        """Wait until there is something new to begin with, whatever cannot be read until then; JobOver, Stopped."""
        while True:
            try:
                if self._is_live():
                    super()._begin()
                    if self._place[0] != self._played[0] or self._place > self._played:
                        self._reason = ""
                        return
            except SourceError as error:
                if isinstance(error, (Stopped, JobOver)):
                    raise
                self._tell(error)
            rest(self._stop, LOOK)

    def _is_live(self) -> bool:
        """Return whether what was recorded last belongs to a session that still runs; JobOver."""
        access, event = self._access, self._event
        job = access.ask(lambda _: self._jobs.get(f"{access.account}.{event}"), self._stop)
        if job is None or job.value.ended:
            raise JobOver
        last = access.ask(lambda js: newest(js, access.account, event), self._stop)
        return last is not None and last.segment.session in job.value.open_sessions

    def _tell(self, error: SourceError) -> None:
        """Log why there is nothing to play, once."""
        if (reason := str(error)) != self._reason:
            self._reason = reason
            log.warning("restream.job.later", job=self._event, reason=reason)

    def _patient(self, silent_ns: int) -> bool:
        """Return True: the job decides when it is over."""
        del silent_ns
        return True

    def _is_over(self) -> bool:
        """Return whether the job has ended; one whose record cannot be read goes on."""
        key = f"{self._access.account}.{self._event}"
        try:
            stored = self._access.ask(lambda _: self._jobs.get(key), self._stop)
        except Stopped:
            raise
        except SourceError:
            return False
        return stored is None or stored.value.ended
