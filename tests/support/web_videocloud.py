"""A double of Video Cloud that checks every call, and misbehaves where a test says so.

Shapes as in its public references: OAuth, CMS API, Dynamic Ingest API. Its bucket is moto's.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.support.web_moto import Meddled
from tests.support.web_peer import Call, Said

ACCOUNT, CLIENT, SECRET = "57838016001", "client-id", "client-secret"
VIDEO_FIELDS = frozenset({
    "ad_keys", "cue_points", "custom_fields", "description", "economics", "geo", "link", "long_description", "name",
    "offline_enabled", "projection", "reference_id", "schedule", "state", "tags", "text_tracks",
})  # fmt: skip
INGEST_FIELDS = frozenset({
    "master", "profile", "priority", "capture-images", "poster", "thumbnail", "text_tracks", "audio_tracks",
    "callbacks",
})  # fmt: skip


@dataclass
class Cloud:
    """The double. `faults`: answers given once in place of a step's own, by its name."""

    bucket: Meddled
    videos: dict[str, dict[str, Any]] = field(default_factory=dict)
    ingested: list[tuple[str, dict[str, Any], bytes]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: list[str] = field(default_factory=lambda: ["processing", "finished"])
    failure: tuple[str, str] = ("", "")
    faults: dict[str, list[Said | None]] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    tokens: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=Counter)
    same_key: bool = True
    wrong: list[str] = field(default_factory=list)

    def handle(self, call: Call) -> Said | None:
        """Answer; what no client may do is written down in `wrong`."""
        step, rest = self._step(call)
        self.counts[step] += 1
        if self.faults.get(step):
            return self.faults[step].pop(0)
        if step != "token" and call.fields.get("authorization") != f"Bearer {self.tokens[-1] if self.tokens else ''}":
            return _error(401, "UNAUTHORIZED", "Permission denied.")
        said: Said = getattr(self, f"_{step}")(call, *rest)
        if self.after.get(step):  # done, and then the line breaks
            return self.after.pop(step)(said)  # type: ignore[no-any-return]
        return said

    def _step(self, call: Call) -> tuple[str, list[str]]:  # noqa: C901, PLR0911  a table of calls
        if call.path == "/oauth/v4/access_token":
            return "token", []
        api, _, path = call.path.removeprefix("/").partition(f"/v1/accounts/{ACCOUNT}/")
        match [call.method, api, *path.split("/")]:
            case ["POST", "cms", "videos"]:
                return "create", []
            case ["GET", "cms", "videos", video]:
                return "find", [unquote(video)]
            case ["DELETE", "cms", "videos", video]:
                return "delete", [video]
            case ["GET", "cms", "videos", video, "digital_master"]:
                return "master", [video]
            case ["GET", "cms", "videos", video, "ingest_jobs"]:
                return "jobs", [video]
            case ["GET", "cms", "videos", video, "ingest_jobs", job]:
                return "job", [video, job]
            case ["GET", "ingest", "videos", video, "upload-urls", name]:
                return "urls", [video, name]
            case ["POST", "ingest", "videos", video, "ingest-requests"]:
                return "ingest", [video]
            case ["GET", "cms", "counts", "videos"]:
                return "count", []
        self.wrong.append(f"{call.method} {call.target}")
        return "unknown", []

    def _unknown(self, _call: Call) -> Said:
        return _error(404, "RESOURCE_NOT_FOUND", "no such call")

    def _token(self, call: Call) -> Said:
        pair = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if call.fields.get("authorization") != f"Basic {pair}" or call.body != b"grant_type=client_credentials":
            return _json(401, {"error": "invalid_client", "error_description": "The client id or secret is wrong"})
        self.tokens.append(f"token-{len(self.tokens)}")
        return _json(200, {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 300})

    def _create(self, call: Call) -> Said:
        body = json.loads(call.body)
        if unknown := set(body) - VIDEO_FIELDS:
            return _error(422, "VALIDATION_ERROR", f"unknown: {sorted(unknown)}")
        if any(video.get("reference_id") == body.get("reference_id") for video in self.videos.values()):
            return _error(409, "REFERENCE_ID_IN_USE", "Reference id is in use")
        video = f"6{len(self.videos):012}"
        self.videos[video] = {"id": video, "account_id": ACCOUNT, **body}
        return _json(201, self.videos[video])

    def _find(self, _call: Call, video: str) -> Said:
        kind, _, reference = video.partition("ref:")
        found = self.videos.get(kind) or next(
            (each for each in self.videos.values() if reference and each.get("reference_id") == reference), None
        )
        return _json(200, found) if found else _missing()

    def _delete(self, _call: Call, video: str) -> Said:
        return Said(204) if self.videos.pop(video, None) else _missing()

    def _master(self, _call: Call, video: str) -> Said:
        sizes = [len(data) for of, _, data in self.ingested if of == video]
        return _json(200, {"id": "m", "size": sizes[-1]}) if sizes else _missing()

    def _jobs(self, _call: Call, video: str) -> Said:
        return _json(200, [job for job in self.jobs.values() if job["video_id"] == video])

    def _job(self, _call: Call, video: str, job: str) -> Said:
        if job not in self.jobs or self.jobs[job]["video_id"] != video:
            return _missing()
        self.asked[job] += 1
        row = self.jobs[job]
        row["state"] = self.states[min(self.asked[job], len(self.states)) - 1]
        if row["state"] == "failed":
            row["error_code"], row["error_message"] = self.failure
        return _json(200, row)

    def _urls(self, _call: Call, video: str, name: str) -> Said:
        if video not in self.videos:
            return _missing()
        key = f"{ACCOUNT}/{video}/{'same' if self.same_key else self.counts['urls']}/{name}"
        return _json(200, {
            "bucket": "films", "object_key": key, "access_key_id": "LENT", "secret_access_key": "lent secret",
            "session_token": "lent token", "signed_url": f"https://films/{key}?X-Amz-Signature=1",
            "api_request_url": f"https://films.s3.amazonaws.com/{key}",
        })  # fmt: skip

    def _ingest(self, call: Call, video: str) -> Said:
        body = json.loads(call.body)
        if unknown := set(body) - INGEST_FIELDS:
            return _error(422, "VALIDATION_ERROR", f"unknown: {sorted(unknown)}")
        if video not in self.videos:
            return _missing()
        if any(job["video_id"] == video and job["state"] == "processing" for job in self.jobs.values()):
            self.wrong.append("two jobs of one video at once")
        key = body["master"]["url"].removeprefix("https://films.s3.amazonaws.com/")
        data = self.bucket.client.get_object(Bucket="films", Key=key)["Body"].read()
        self.ingested.append((video, body, data))
        job = f"job-{len(self.jobs)}"
        self.jobs[job] = {
            "id": job, "state": "processing", "account_id": ACCOUNT, "video_id": video, "error_code": None,
            "error_message": None, "priority": "normal", "submitted_at": "2026-11-27T12:00:00.000Z",
        }  # fmt: skip
        return _json(200, {"id": job})

    def _count(self, _call: Call) -> Said:
        return _json(200, {"count": len(self.videos)})


def _json(status: int, body: object) -> Said:
    return Said(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _error(status: int, code: str, message: str) -> Said:
    return _json(status, [{"error_code": code, "message": message}])


def _missing() -> Said:
    return _error(404, "RESOURCE_NOT_FOUND", "The resource does not exist.")
