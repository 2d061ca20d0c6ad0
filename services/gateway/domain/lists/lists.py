"""The fields by which the lists of jobs, clips, deliveries and restreams are ordered and filtered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.lists.catalogue import Catalogue, Facts
from services.gateway.domain.lists.orders import ListRow
from shared.broker import buckets
from shared.messages.base import Millis, Record
from shared.messages.clips import ClipRecord, VodState
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState
from shared.messages.notifications import DeliveryRecord
from shared.messages.restreams import RestreamRecord, State

JOB_STATE: Final = 0
JOB_UNTOLD: Final = 1
JOB_STATIC: Final = 2
CLIP_STATE: Final = 0
CLIP_JOB: Final = 1
CLIP_LABEL: Final = 2
CLIP_TYPE: Final = 3
CLIP_FACADE: Final = 4
DELIVERY_STATE: Final = 0
DELIVERY_WEBHOOK: Final = 1
DELIVERY_RESOURCE: Final = 2
RESTREAM_STATE: Final = 0
RESTREAM_JOB: Final = 1
UNTOLD: Final = "untold"
STATIC: Final = "static"


class JobFacts(Record):
    """The fields of a JobRecord that its list needs."""

    event: str
    state: JobState
    created_ms: Millis
    changed_ms: Millis
    revision: int = 0
    announced: int = -1
    static: bool = False


class DestinationFacts(Record):
    """The fields of a DestinationSpec that the list of clips needs."""

    type: str = "library"


class NoteFacts(Record):
    """The field of a FacadeNote that the list of clips needs."""

    facade: str


class RequestFacts(Record):
    """The fields of a ClipCreate that the list of clips needs."""

    event: str
    label: str = ""
    destinations: tuple[DestinationFacts, ...] = (DestinationFacts(),)
    instant: bool = False
    note: NoteFacts | None = None


class ClipFacts(Record):
    """The fields of a ClipRecord that its list needs."""

    clip: str
    request: RequestFacts
    state: VodState
    created_ms: Millis
    changed_ms: Millis


class AttemptFacts(Record):
    """The fields of an Attempt that the list of deliveries needs."""

    at_ms: Millis


class DeliveryFacts(Record):
    """The fields of a DeliveryRecord that its list needs."""

    delivery: str
    endpoint: str | None = None
    resource: str
    state: str
    attempts: tuple[AttemptFacts, ...] = ()
    created_ms: Millis


class OutputFacts(Record):
    """The field of an OutputOf that the list of restreams needs."""

    job: str


class SpecFacts(Record):
    """The field of a RestreamSpec that the list of restreams needs."""

    output: OutputFacts | None = None


class RestreamFacts(Record):
    """The fields of a RestreamRecord that its list needs."""

    restream: str
    spec: SpecFacts = SpecFacts()
    state: State
    created_ms: Millis
    changed_ms: Millis


def job_entry(job: JobFacts) -> ListRow:
    """Return a job's entry in lists."""
    untold = UNTOLD if job.announced < job.revision else None
    return ListRow(job.event, job.created_ms, job.changed_ms, (job.state, untold, STATIC if job.static else None))


def clip_entry(clip: ClipFacts) -> ListRow:
    """Return a clip's entry in lists."""
    asked = clip.request
    kind = "instant" if asked.instant else asked.destinations[0].type
    facade = asked.note.facade if asked.note else None
    return ListRow(clip.clip, clip.created_ms, clip.changed_ms, (clip.state, asked.event, asked.label, kind, facade))


def delivery_entry(delivery: DeliveryFacts) -> ListRow:
    """Return a delivery's entry in lists; the last attempt is its last change."""
    changed = delivery.attempts[-1].at_ms if delivery.attempts else delivery.created_ms
    return ListRow(
        delivery.delivery, delivery.created_ms, changed, (delivery.state, delivery.endpoint, delivery.resource)
    )


def restream_entry(restream: RestreamFacts) -> ListRow:
    """Return a restream's entry in lists."""
    changed = max(restream.changed_ms, restream.created_ms)
    job = restream.spec.output.job if restream.spec.output else None
    return ListRow(restream.restream, restream.created_ms, changed, (restream.state, job))


def jobs_list(jetstream: Callable[[], JetStreamContext]) -> Catalogue[JobRecord, JobFacts]:
    """Make the list of jobs."""
    return Catalogue(jetstream, buckets.JOBS, JobRecord, Facts(JobFacts, job_entry))


def clips_list(jetstream: Callable[[], JetStreamContext]) -> Catalogue[ClipRecord, ClipFacts]:
    """Make the list of the clips that a clipper has taken up."""
    return Catalogue(jetstream, buckets.CLIPS, ClipRecord, Facts(ClipFacts, clip_entry))


def deliveries_list(jetstream: Callable[[], JetStreamContext]) -> Catalogue[DeliveryRecord, DeliveryFacts]:
    """Make the list of deliveries."""
    return Catalogue(jetstream, buckets.DELIVERIES, DeliveryRecord, Facts(DeliveryFacts, delivery_entry))


def restreams_list(jetstream: Callable[[], JetStreamContext]) -> Catalogue[RestreamRecord, RestreamFacts]:
    """Make the list of the restreams that a restreamer has taken up."""
    return Catalogue(jetstream, buckets.RESTREAMS, RestreamRecord, Facts(RestreamFacts, restream_entry))
