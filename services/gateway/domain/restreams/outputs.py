"""Outputs of live jobs: each is a restream of the job to one target, which ends with the job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.domain.errors import StateConflict, TooMany, no_such
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.quotas import NUMBER_AGAIN
from services.gateway.domain.restreams.pending import OVER
from services.gateway.domain.restreams.restreams import KnownRestream, Restreams
from shared.messages.outputs import MOST_OUTPUTS, OutputOf, OutputState, output_state
from shared.messages.restream_commands import Start, Stop
from shared.messages.restreams import Item, RestreamSpec, Source, TargetStatus


@dataclass(frozen=True, slots=True)
class Outputs:
    """Orders and finds outputs."""

    restreams: Restreams
    jobs: Jobs

    async def create(self, account: str, job_id: str, url: str, label: str, ids: Callable[[int], str]) -> KnownRestream:
        """Send a job on to a target, now or when its stream begins. NotFound, StateConflict, Invalid, TooMany."""
        job = await self.jobs.get(account, job_id)
        if job.ended or job.state == "cancelling":
            raise StateConflict(f"the job is {job.state}")
        ident, command = ids(0), ids(1)
        target = self.restreams.parts.target("url", url)
        going = [one for one in await self.of(account, job_id) if one.record.state not in OVER]
        if len(going) >= MOST_OUTPUTS and all(one.record.restream != ident for one in going):
            raise TooMany("QUOTA_EXCEEDED", f"a job has at most {MOST_OUTPUTS} outputs", NUMBER_AGAIN)
        told = tuple(one for one in job.notifications if one.event == "rtmp_output_state_changed")
        spec = RestreamSpec(
            name=label,
            items=(Item(source=Source(kind="job", location=job_id, shown=f"live job {job_id}")),),
            targets=(target,),
            loops=1,
            output=OutputOf(job=job_id, label=label, notifications=told),
        )
        await self.restreams.order(self.restreams.command(account, ident, Start(spec=spec), command))
        return await self.restreams.find(account, ident)

    async def of(self, account: str, job_id: str) -> list[KnownRestream]:
        """Return a job's outputs, the oldest first. NotFound."""
        await self.jobs.get(account, job_id)
        return await self.restreams.of_job(account, job_id)

    async def stop(self, account: str, job_id: str, output: str, command: str) -> KnownRestream:
        """End an output; nothing changes when it has ended. NotFound."""
        known = await self.restreams.find(account, output)
        if known.record.spec.output is None or known.record.spec.output.job != job_id:
            raise no_such("output")
        return await self.restreams.obey(account, output, Stop(), command)


def target_status(known: KnownRestream) -> TargetStatus | None:
    """Return what is known of the target of an output."""
    (target,) = known.record.spec.targets
    told = known.playout.targets if known.playout else ()
    return next((status for status in told if status.target == target.target), None)


def state_of(known: KnownRestream) -> OutputState:
    """Return the state of an output."""
    return output_state(known.record.state, target_status(known), reached=bool(known.record.reached))
