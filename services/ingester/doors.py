"""The ingest servers: authorize RTMP and SRT publishers, and start their sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from services.ingester.access import Access, AdmittedJob
from services.ingester.broadcasts import rtmp_broadcast
from services.ingester.disk import Disk
from services.ingester.permits import Permit, Permits
from services.ingester.refusals import PublishRefused, disk_full
from services.ingester.rtmp import Publication, PublishRequest, RtmpServer
from services.ingester.sessions import Sessions, Ticket
from services.ingester.srt import SrtGrant, SrtLimits, SrtListener, SrtPublication, SrtRequest, SrtUnavailable
from shared.errors import Rejected
from shared.messages.live import Protocol
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.settings import Network
from shared.store import StoreFull

log = get_logger()
STOP: Final = timedelta(seconds=4)
DRAIN: Final = timedelta(seconds=4)


class Doors:
    """Opens and closes both servers. Without libsrt, only RTMP runs."""

    def __init__(
        self,
        access: Access,
        sessions: Sessions,
        permits: Permits,
        disk: Disk,
        clock: Clock,
        balancers: Iterable[Network] = (),
    ) -> None:
        self._permits = permits
        self._access = access
        self._sessions = sessions
        self._disk = disk
        self._clock = clock
        self._balancers = tuple(balancers)

    def rtmp_request(self, request: PublishRequest) -> Ticket | None:
        """Return the ticket for the job of a stream key or an entry; PublishRefused with the reason otherwise."""
        wanted = rtmp_broadcast(request.stream_name, request.args, request.tc_url)
        if wanted is not None:
            entry = self._access.by_broadcast(wanted, request.host)
        else:
            entry = self._access.by_stream_key(request.stream_key(), request.host)
        try:
            self._require_room()
            self._sessions.check_elsewhere(entry)
            permit = self._permits.permit(entry, "rtmp", request.host, request.args.get("token", ""))
            return self._admit(entry, "rtmp", permit, request.host)
        except PublishRefused as error:
            raise error.about(entry.account, entry.event) from error

    def srt_request(self, request: SrtRequest) -> SrtGrant | None:
        """Return the grant for the stream id's job; PublishRefused as above."""
        if request.broadcast is not None:
            entry = replace(self._access.by_broadcast(request.broadcast, request.peer.host), passphrase=None)
        else:
            entry = self._access.by_event(request.event, request.peer.host)
        try:
            self._require_room()
            self._sessions.check(entry)
            self._permits.refused_lately(entry, request.peer.host)
        except PublishRefused as error:
            raise error.about(entry.account, entry.event) from error
        fields = {"job": entry.event, "account": entry.account}
        return SrtGrant(passphrase=entry.passphrase, context=entry, label=entry.event, fields=fields)

    def srt_known(self, request: SrtRequest) -> bool:
        """Return whether `srt_request` can answer from memory."""
        if request.broadcast is not None:
            return self._access.knows_broadcast(request.broadcast)
        return self._access.knows(request.event)

    def _require_room(self) -> None:
        try:
            self._disk.require()
        except StoreFull as error:
            log.warning("publish.disk_full", reason=str(error))
            raise disk_full() from error

    def _admit(self, entry: AdmittedJob, protocol: Protocol, permit: Permit, host: str) -> Ticket:
        """Admit a publisher to a job that has not ended meanwhile. Once it is admitted, the job's end ends it, too."""
        ticket = self._sessions.admit(entry, protocol, permit)
        try:
            self._access.require(entry, host)
        except PublishRefused:
            self._sessions.withdraw(ticket)
            raise
        return ticket

    def _rtmp_publish(self, publication: Publication[Ticket]) -> None:
        self._sessions.serve(publication, publication.grant)

    def _srt_publish(self, publication: SrtPublication) -> None:
        try:
            entry = publication.grant.context
            permit = self._permits.permit(entry, "srt", publication.peer.host)  # it has proven the passphrase
            ticket = self._admit(entry, "srt", permit, publication.peer.host)
        except Rejected as error:
            log.info("srt.publish.refused", peer=str(publication.peer), reason=str(error))
            return
        publication.session = ticket.session
        self._sessions.serve(publication, ticket)

    @contextlib.asynccontextmanager
    async def open(self, host: str, rtmp_port: int, srt_port: int) -> AsyncIterator[None]:
        """Accept publishers while the block runs; then end all sessions and publish what they recorded."""
        rtmp = RtmpServer(host, rtmp_port, self.rtmp_request, self._rtmp_publish, clock=self._clock)
        srt = SrtListener(
            host, srt_port, self.srt_request, self._srt_publish, SrtLimits(), self._clock, known=self.srt_known
        )
        rtmp.start(self._balancers)
        try:
            srt.start()
        except SrtUnavailable as error:
            log.warning("srt.unavailable", reason=str(error))
        try:
            yield
        finally:
            drained, *_ = await asyncio.gather(
                self._sessions.drain(DRAIN), asyncio.to_thread(rtmp.stop, STOP), asyncio.to_thread(srt.stop, STOP)
            )
            log.info("ingester.drained", complete=drained)
