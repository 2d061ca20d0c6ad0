"""RTMP outputs as Brightcove's Live API shows them; of a stream name, which is a secret, the last two characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from services.gateway.domain.restreams.outputs import state_of, target_status
from services.gateway.domain.restreams.restreams import KnownRestream
from services.gateway.facades.brightcove.view import Body
from services.gateway.identity.credential_rules import masked
from shared.messages.jobs import JobRecord
from shared.rtmp.address import split_rtmp
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url

PORTS: Final = {"rtmp": 1935, "rtmps": 443}


@dataclass(frozen=True, slots=True)
class OutputViews:
    """Makes the bodies of answers."""

    vault: Vault

    def output(self, known: KnownRestream, job: JobRecord) -> Body:
        """Return an output of a job."""
        record, status = known.record, target_status(known)
        state = state_of(known)
        return {
            "rtmp_out_id": record.restream,
            "job_id": record.spec.output.job if record.spec.output else None,
            "label": record.spec.name or None,
            "state": state,
            "connection_info": self._connection(record.spec.targets[0].url),
            "duration_history": [],
            "waiting_for_start": job.is_inactive and state not in {"finished", "error"},
            "stream_start": record.started_ms or record.created_ms,
            "error_message": (status.error if status and state != "connected" else "") or None,
        }

    def _connection(self, sealed: str) -> Body:
        """Return where the job is sent; the stream name masked, and nothing under another SECRET_KEY."""
        try:
            url = open_url(self.vault, sealed)
        except SecretUnreadable:
            return {"host": None, "port": None, "application": None, "streamName": None}
        parts = urlsplit(url)
        app, name = "", parse_qs(parts.query).get("streamid", [""])[0]
        if parts.scheme in PORTS:
            found = split_rtmp(url)
            app, name = found.app.partition("?")[0], found.name
        return {
            "host": parts.hostname,
            "port": parts.port or PORTS.get(parts.scheme),
            "application": app or None,
            "streamName": masked(name) or None,
        }
