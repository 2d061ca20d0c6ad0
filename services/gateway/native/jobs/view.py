"""A live job as its client sees it."""

from __future__ import annotations

from collections.abc import Sequence

from services.gateway.delivery.addresses import JobAddresses
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.jobs.publishers import Publisher
from services.gateway.identity.auth import Caller
from services.gateway.native.clips.models import VodRef
from services.gateway.native.jobs.models import JobCreated, JobView, PublisherView, SoundTrackView, StateEntry
from shared.messages.clips import ClipCreate
from shared.messages.jobs import JobRecord


class JobViews:
    """Makes views of jobs; secrets are only for callers who may write jobs."""

    def __init__(self, jobs: Jobs, addresses: JobAddresses) -> None:
        self._jobs = jobs
        self._addresses = addresses

    def brief(self, caller: Caller, job: JobRecord) -> JobView:
        """Return a job's view without its publishers, for a list."""
        shown = JobView(
            **{k: v for k, v in job.fields.items() if k not in JobView.model_fields},
            id=job.event,
            name=job.name,
            state=job.state,
            state_history=[StateEntry(state=c.state, timestamp=c.at_ms) for c in job.history],
            account_id=job.account,
            static=job.static,
            sep_state=job.sep_state,
            active=not job.is_inactive and not job.ended if job.static else None,
            stream_url=self._addresses.rtmp_url,
            playback_url=self._addresses.playback(job, "index"),
            playback_url_dvr=self._addresses.playback(job, "dvr"),
            created_at=job.created_ms,
            modified_at=job.changed_ms,
            finished_at=job.finished_ms,
            reconnect_time=job.reconnect_time_s,
            event_length=job.event_length_s,
            live_dvr_sliding_window_duration=job.dvr_window_s or None,
            encrypted=job.encrypted,
        )
        if caller.may("jobs:write") and (secrets := self._addresses.secrets(job)):
            shown.stream_name, shown.srt_url = secrets
        return shown

    async def whole(self, caller: Caller, job: JobRecord) -> JobView:
        """Return a job's view with its publishers."""
        shown = self.brief(caller, job)
        shown.publishers = [publisher_view(one) for one in await self._jobs.publishers.of(job.account, job.event)]
        return shown

    async def created(self, caller: Caller, job: JobRecord, clips: Sequence[ClipCreate]) -> JobView:
        """Return a new job's view, with the clips that were ordered with it."""
        shown = await self.whole(caller, job)
        if not clips:
            return shown
        refs = [VodRef(jvod_id=clip.clip, label=clip.label) for clip in clips]
        return JobCreated(**shown.model_dump(), vod_jobs=refs)


def publisher_view(publisher: Publisher) -> PublisherView:
    """Return a publisher's view."""
    status = publisher.status
    return PublisherView(
        session=status.session,
        state=publisher.state,
        protocol=status.protocol,
        peer=status.peer,
        connected_at=status.since_ms,
        updated_at=status.updated_ms,
        ended_at=status.ended_ms,
        reason=status.reason,
        video_codec=status.video_codec or None,
        audio_codec=status.audio_codec or None,
        width=status.width or None,
        height=status.height or None,
        frame_rate=status.frame_rate or None,
        sample_rate=status.sample_rate or None,
        channels=status.channels or None,
        audio_tracks=[
            SoundTrackView(
                codec=one.codec, language=one.language or None, sample_rate=one.sample_rate, channels=one.channels
            )
            for one in status.sounds
        ],
        bitrate=status.bitrate,
        bytes=status.bytes,
        frames=status.frames,
        keyframes=status.keyframes,
        last_keyframe_at=status.last_keyframe_ms,
        jumps=status.jumps,
        damaged_frames=status.damaged_frames,
        dropped_frames=status.dropped_frames,
        lost_packets=status.lost_packets,
        unsupported=list(status.unsupported),
        warnings=list(status.warnings),
    )
