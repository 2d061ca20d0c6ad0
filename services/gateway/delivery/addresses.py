"""Where a live job is published to and played from."""

from __future__ import annotations

from typing import Literal, NamedTuple

from services.gateway.delivery.tokens import playback_url
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.http.public_url import PublicUrl
from shared.messages.jobs import JobRecord
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.reachable import in_url
from shared.security.secrets import SecretUnreadable, Vault

log = get_logger()


class IngestServer(NamedTuple):
    """Where encoders publish. Without a `host`, the host of the public URL is used, or else the bound one."""

    host: str
    bound: str
    rtmp_port: int
    srt_port: int


class IngestSecrets(NamedTuple):
    """What an encoder needs besides the address: the stream key, and the SRT address with its passphrase."""

    stream_key: str
    srt_url: str


class JobAddresses:
    """Makes the addresses of jobs."""

    def __init__(self, jobs: Jobs, ingest: IngestServer, public: PublicUrl, vault: Vault, clock: Clock) -> None:
        self._jobs = jobs
        self._ingest = ingest
        self._public = public
        self._vault = vault
        self._clock = clock

    @property
    def rtmp_url(self) -> str:
        """The address at which encoders publish by RTMP."""
        return f"rtmp://{self.ingest_host}:{self._ingest.rtmp_port}/live"

    @property
    def srt_server(self) -> str:
        """The address at which encoders publish by SRT, without stream id and passphrase."""
        return f"srt://{self.ingest_host}:{self._ingest.srt_port}"

    @property
    def ingest_host(self) -> str:
        """The host that encoders connect to, with brackets round an IPv6 address."""
        return in_url(self._ingest.host or self._public.host or self._ingest.bound)

    def playback(self, job: JobRecord, kind: Literal["index", "dvr"]) -> str:
        """Return where a job is played, for about a day without an API key."""
        return playback_url(self._vault, self._clock, self._public.base, job.account, job.event, kind=kind)

    def secrets(self, job: JobRecord) -> IngestSecrets | None:
        """Return a job's secrets; None when they were stored under another SECRET_KEY."""
        try:
            key, passphrase = self._jobs.stream_key(job), self._jobs.passphrase(job)
        except SecretUnreadable:
            log.warning("job.secrets.unreadable", event_id=job.event)
            return None
        return IngestSecrets(key, f"{self.srt_server}?streamid={job.event}&passphrase={passphrase}&pbkeylen=16")
