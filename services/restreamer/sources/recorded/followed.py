"""A live job as a Media: each of its sessions from a keyframe of its last seconds on, until the job has ended."""

from __future__ import annotations

from datetime import timedelta
from threading import Event
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Access, Stopped
from services.restreamer.sources.recorded.live import LiveMedia
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.recording.log import newest
from shared.runtime.logging import get_logger

log = get_logger()
LOOK: Final = timedelta(milliseconds=500)
OVER: Final = "the live job has ended"


class FollowedJob(LiveMedia):
    """A job's stream. It waits for the first session, and for the next one, however long its encoder stays away.

    Nothing of a session that is over is played: what is sent on is live.
    """

    def __init__(self, event: str, access: Access, stop: Event) -> None:
        self._jobs = Bucket(access.js, buckets.JOBS, JobRecord)
        while not self._begins(event, access, stop):
            if stop.wait(LOOK.total_seconds()):
                raise Stopped
        super().__init__(event, access, stop)

    def _begins(self, event: str, access: Access, stop: Event) -> bool:
        """Return whether there is something to start with; SourceError when there never will be."""
        try:
            job = access.ask(lambda _: self._jobs.get(f"{access.account}.{event}"), stop)
            last = access.ask(lambda js: newest(js, access.account, event), stop)
        except SourceError as error:
            if isinstance(error, Stopped) or error.lasting:
                raise
            log.info("restream.job.later", job=event, reason=str(error))
            return False
        if job is None or job.value.ended:
            raise SourceError(OVER)
        return last is not None and last.segment.session in job.value.open_sessions

    def _patient(self, silent_ns: int) -> bool:
        """Return True: the job decides when it is over."""
        del silent_ns
        return True

    def _is_over(self) -> bool:
        """Return whether the job has ended."""
        key = f"{self._access.account}.{self._event}"
        with self._broker_away():
            stored = self._access.ask(lambda _: self._jobs.get(key), self._stop)
            return stored is None or stored.value.ended
        return False
