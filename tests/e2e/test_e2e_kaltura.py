"""A live entry of Kaltura's API on the whole stack: its broadcast URL in a real encoder, live by isLive, recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import framecode
from tests.support.hls_check import read_multivariant
from tests.support.rtmp_client import RtmpClient
from tests.support.stack import StackUnderTest, publisher, until


@dataclass
class Platform:
    """A program with its partner's session."""

    live: StackUnderTest
    partner: int
    ks: str = ""

    def call(self, name: str, **fields: Any) -> Any:
        service, _, action = name.partition(".")
        body = {"format": 1, "ks": self.ks, **fields}
        answer = self.live.api.post(f"/api_v3/service/{service}/action/{action}", json=body)
        assert answer.status_code == 200
        return answer.json()

    def job(self, name: str) -> str:
        (found,) = [job for job in self.live.get("/v1/jobs?limit=200")["jobs"] if job["name"] == name]
        return str(found["id"])

    def until_live(self, entry: str, *, live: bool) -> None:
        until(lambda: self.call("liveStream.isLive", id=entry) is live, f"isLive to be {live}")

    def until_recorded(self, job: str) -> None:
        """Wait until two seconds can be clipped, without waiting for more."""
        body = {"live_job_id": job, "outputs": [{"stream_start_time": 1, "stream_end_time": 3}]}
        until(lambda: self.live.api.post("/v1/vods", json=body).status_code == 201, "two seconds", 60, 0.3)


@pytest.fixture(scope="module")
def platform(live: StackUnderTest) -> Iterator[Platform]:
    made = live.post("/v1/kaltura-partners", {"account": "main"})
    found = Platform(live, made["partner_id"])
    found.ks = found.call("session.start", secret=made["secret"], type=2, partnerId=found.partner)
    yield found
    assert found.ks not in live.log()
    assert made["secret"] not in live.log()
    assert live.api.delete(f"/v1/kaltura-partners/{found.partner}").status_code == 204
    assert found.call("session.get")["code"] == "INVALID_KS"


def code(live: StackUnderTest, app: str, name: str) -> str:
    with RtmpClient(int(live.run["ports"]["rtmp"])) as client:
        return str(client.ask(name, app, f"rtmp://127.0.0.1/{app}")["code"])


def test_the_broadcast_url_records_and_the_entry_is_live(platform: Platform, programme: Path, tmp_path: Path) -> None:
    live = platform.live
    asked = {"objectType": "KalturaLiveStreamEntry", "name": "e2e kaltura", "dvrStatus": "1", "dvrWindow": "60"}
    entry = platform.call("livestream.add", liveStreamEntry=asked, sourceType="32")
    url, name, job = entry["primaryBroadcastingUrl"], f"{entry['id']}_1", platform.job("e2e kaltura")
    app = url.partition("/kLive")[2]
    assert app == f"/?p={platform.partner}&e={entry['id']}&i=0&t={entry['streamPassword']}"
    for wrong in (
        app.replace("&t=", "&t=f"),
        app.replace("p=", "p=1"),
        app.replace("&t=", "&x="),
        app.replace("i=0", "i=1"),
    ):
        assert code(live, f"kLive{wrong}", name) in {"NetStream.Publish.Denied", "NetStream.Publish.Rejected"}, wrong
    for form in (f"{url}/{name}", f"{url.replace('/?', '?')}/{name}"):
        with publisher(programme, form, "flv"):
            platform.until_live(entry["id"], live=True)
            assert platform.call("liveStream.getDetails", id=entry["id"])["broadcastStatus"] == 3
            locked = platform.call("liveStream.update", entryId=entry["id"], liveStreamEntry={"dvrWindow": "30"})
            assert locked["code"] == "CANNOT_UPDATE_FIELDS_WHILE_ENTRY_BROADCASTING"
            busy = platform.call("liveStream.authenticate", entryId=entry["id"], token=entry["streamPassword"])
            assert busy["code"] == "LIVE_STREAM_ALREADY_BROADCASTING"
            until(lambda: live.api.get(entry["hlsStreamUrl"]).status_code == 200, "the playlist")
        platform.until_live(entry["id"], live=False)
    assert read_multivariant(live.api.get(entry["hlsStreamUrl"]).text)
    clip = live.clip(job, stream_start_time=1, stream_end_time=2)
    live.finished(clip)
    assert framecode.play(live.download(clip, tmp_path / "clip.mp4")).numbers == list(range(30, 60))
    assert platform.call("liveStream.get", entryId=entry["id"])["lastBroadcast"] >= entry["createdAt"]
    shown = live.log() + str(live.get(f"/v1/jobs/{job}")) + str(live.get(f"/v1/vods/{clip}"))
    assert entry["streamPassword"] not in shown


def test_the_srt_id_of_an_entry_records(platform: Platform, programme: Path) -> None:
    entry = platform.call("liveStream.add", liveStreamEntry={"name": "e2e kaltura srt"})
    ident = entry["primarySrtStreamId"]
    assert ident == f"#:::e={entry['id']},st=0,p={entry['srtPass']}"
    with publisher(programme, f"{entry['primarySrtBroadcastingUrl']}?streamid={quote(ident)}", "mpegts"):
        platform.until_live(entry["id"], live=True)
    platform.until_live(entry["id"], live=False)
    platform.until_recorded(platform.job("e2e kaltura srt"))
    assert entry["srtPass"] not in platform.live.log()
    assert platform.call("liveStream.delete", entryId=entry["id"]) is None
    assert platform.call("liveStream.isLive", id=entry["id"])["code"] == "INVALID_ENTRY_ID"
