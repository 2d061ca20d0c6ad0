"""A client of Brightcove's Live API, written from its reference alone: it knows nothing of Reelay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx


class LiveApiError(Exception):
    """An answer other than 2xx, by the words of its body."""

    def __init__(self, answer: httpx.Response) -> None:
        body = answer.json()
        body = body[0] if isinstance(body, list) else body
        super().__init__(body.get("message") or body.get("error"))
        self.status = answer.status_code
        self.code = body.get("error_code", "")


@dataclass
class LiveApi:
    """The API at a base URL, with the key that `http` carries."""

    http: httpx.Client

    def _ask(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        answer = self.http.request(method, f"/v1{path}", json=body, params=parameters)
        if answer.status_code not in {200, 204}:
            raise LiveApiError(answer)
        return answer.json() if answer.content else None

    def create_job(self, **fields: Any) -> tuple[str, str, str]:
        """Return a new job's id, and where and under which name its encoder publishes."""
        made = self._ask("POST", "/jobs", {"live_stream": True, "region": "us-west-2", "outputs": [], **fields})
        return made["id"], made["stream_url"], made["stream_name"]

    def job(self, ident: str) -> dict[str, Any]:
        job = self._ask("GET", f"/jobs/{ident}")["job"]
        assert job["created_at"].endswith("Z")
        datetime.fromisoformat(job["created_at"])
        return dict(job)

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        yield from self._pages("/jobs", "jobs", filters)

    def stop(self, ident: str) -> None:
        assert self._ask("PUT", f"/jobs/{ident}/stop") == {"id": ident}

    def create_clips(self, body: dict[str, Any]) -> list[str]:
        return [made["jvod_id"] for made in self._ask("POST", "/vods", body)["vod_jobs"]]

    def clip(self, ident: str) -> dict[str, Any]:
        return dict(self._ask("GET", f"/vods/{ident}"))

    def clips(self, job: str | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        yield from self._pages(f"/jobs/{job}/vods" if job else "/vods", "vod_jobs", filters)

    def _pages(self, path: str, name: str, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._ask("GET", path, **filters, **token)
            yield from page[name]
            if not page["next_token"]:
                return
            token = {"start_token": page["next_token"]}

    def create_credentials(self, label: str, kind: str, public: str, private: str) -> str:
        body = {
            "credential_label": label, "credential_type": kind, "credential_public": public,
            "credential_private": private, "credential_default_for_type": False,
        }  # fmt: skip
        return str(self._ask("POST", "/credentials", body)["credential_id"])

    def credentials(self) -> dict[str, dict[str, Any]]:
        return {one["credential_id"]: one for one in self._ask("GET", "/credentials")["credentials"]}

    def update_credentials(self, ident: str, **fields: Any) -> None:
        self._ask("PUT", f"/credentials/{ident}", fields)

    def delete_credentials(self, ident: str) -> None:
        self._ask("DELETE", f"/credentials/{ident}")
