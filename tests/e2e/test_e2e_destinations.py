"""Clips sent to a bucket, FTP, SFTP, WebDAV, a folder and the library at once, and to Video Cloud, through the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import framecode
from tests.support.ftp_servers import FtpServer, ftp_server
from tests.support.peers import missing
from tests.support.sftp_servers import PASSWORD, USER, SftpServer, sftp_server
from tests.support.stack import StackUnderTest, publisher, stack, until
from tests.support.uploads import make_certificate
from tests.support.videocloud_server import CloudServer, videocloud_server
from tests.support.web_servers import PASSWORD as WEB_PASSWORD
from tests.support.web_servers import USER as WEB_USER
from tests.support.web_servers import Bucket, DavServer, rclone_webdav, weed_s3
from tests.support.web_videocloud import ACCOUNT, CLIENT, SECRET

SAMPLE = Path(__file__).parents[1] / "support/clip_samples/1-stream-times.json"


@dataclass
class Places:
    """The servers, and the stack that delivers to them."""

    live: StackUnderTest
    exports: Path
    bucket: Bucket
    ftp: FtpServer
    sftp: SftpServer
    dav: DavServer
    cloud: CloudServer

    def store(self, label: str, kind: str, public: str, private: str, **more: Any) -> str:
        """Store credentials, and return their id."""
        fields = {"credential_label": label, "credential_type": kind, "credential_public": public}
        made = self.live.post("/v1/credentials", {**fields, "credential_private": private, **more})
        assert private not in str(made)
        return str(made["credential_id"])

    def tested(self, credential: str, url: str) -> dict[str, Any]:
        """Try credentials at a URL."""
        return self.live.post(f"/v1/credentials/{credential}/test", {"url": url})


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    if lacking := missing("vsftpd"):
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("places")
    exports = folder / "exports"
    exports.mkdir()
    (folder / "weed").mkdir()
    (folder / "dav").mkdir()
    certificate = make_certificate(folder / "tls")
    with ExitStack() as opened:
        enter = opened.enter_context
        cloud = enter(videocloud_server())
        given = {"REELAY_EXPORT_DIR": str(exports), "REELAY_CA_FILE": str(certificate[1]), **cloud.settings}
        yield Places(
            cloud=cloud,
            bucket=enter(weed_s3(folder / "weed")),
            ftp=enter(ftp_server("vsftpd", folder, certificate)),
            sftp=enter(sftp_server("rclone", folder)),
            dav=enter(rclone_webdav(folder / "dav")),
            exports=exports,
            live=enter(stack(folder / "stack", **given)),
        )


def _clip(live: StackUnderTest, programme: Path, destinations: list[dict[str, Any]], start: int, end: int) -> str:
    """Publish, and order a clip that waits for its end; return its id when the stream has come so far."""
    job = live.job()
    with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
        until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
        clip = live.clip(job["id"], stream_start_time=start, stream_end_time=end, wait=True, destinations=destinations)
        until(lambda: live.get(f"/v1/vods/{clip}")["accuracy"] == "frame", "the exact file", 90)
    return clip


def test_one_clip_to_all_of_them(places: Places, programme: Path, tmp_path: Path) -> None:
    live = places.live
    bucket = places.store("bucket", "s3", WEB_USER, WEB_PASSWORD, endpoint=places.bucket.endpoint)
    ftp = places.store("site", "ftp", places.ftp.user, PASSWORD, tls="explicit")
    sftp = places.store("vault", "sftp", USER, PASSWORD, host_key=places.sftp.host_key)
    web = places.store("web", "http", WEB_USER, WEB_PASSWORD)
    urls = {
        "bucket": "s3://films/cup/", "site": places.ftp.url("in/goal.mp4"), "vault": places.sftp.url("in/goal.mp4"),
        "web": places.dav.url("cup/goal.mp4"),
    }  # fmt: skip
    for credential, name in ((bucket, "bucket"), (ftp, "site"), (sftp, "vault"), (web, "web")):
        told = places.tested(credential, urls[name])
        assert told["worked"], told
    asked: list[dict[str, Any]] = [{"url": url, "credentials": name} for name, url in urls.items()]
    clip = _clip(live, programme, [*asked, {"url": "file:///cup/goal.mp4"}, {"library": True}], 2, 6)
    made = live.finished(clip, 90)
    file = live.download(clip, tmp_path / "clip.mp4")
    assert framecode.play(file).numbers == list(range(60, 180))
    told = made["destinations"]
    assert [one["type"] for one in told] == ["s3", "ftp", "sftp", "http", "folder", "library"]
    assert all((one["state"], one["accuracy"], one["error"]) == ("delivered", "frame", "") for one in told), told
    bodies: dict[str, Callable[[], bytes]] = {
        "s3": lambda: places.bucket.body(f"cup/clip-{clip}.mp4"),
        "ftp": (places.ftp.root / "in/goal.mp4").read_bytes,
        "sftp": (places.sftp.root / "in/goal.mp4").read_bytes,
        "http": (places.dav.root / "cup/goal.mp4").read_bytes,
        "folder": (places.exports / "main/cup/goal.mp4").read_bytes,
        "library": (live.folder / told[-1]["location"]).read_bytes,
    }
    for kind, body in bodies.items():
        assert body() == file.read_bytes(), kind
    assert places.bucket.names() == [f"cup/clip-{clip}.mp4"]
    assert places.bucket.unfinished() == []
    for folder in (
        places.ftp.root / "in",
        places.sftp.root / "in",
        places.dav.root / "cup",
        places.exports / "main/cup",
    ):
        assert [path.name for path in folder.iterdir()] == ["goal.mp4"], folder
    assert WEB_PASSWORD not in live.log()
    assert PASSWORD not in live.log()


def test_what_is_wrong_is_told_apart(places: Places, programme: Path) -> None:
    live = places.live
    wrong = places.store("wrong", "ftp", "nobody", "at all", tls="explicit")
    told = places.tested(wrong, places.ftp.url("in/x.mp4"))
    assert not told["worked"]
    assert "530" in told["error"], told
    asked = [{"url": places.ftp.url("in/x.mp4"), "credentials": "wrong"}, {"library": True}]
    clip = _clip(live, programme, asked, 1, 3)

    def ended() -> dict[str, Any] | None:
        vod = live.get(f"/v1/vods/{clip}")
        return vod if vod["jvod_state"] in {"failed", "finished"} else None

    made = until(ended, "the clip to end", 90)
    assert made["jvod_state"] == "failed"
    assert "530" in made["error"]
    assert [(one["state"], one["accuracy"]) for one in made["destinations"]] == [
        ("failed", None),
        ("delivered", "frame"),
    ]
    assert not (places.ftp.root / "in/x.mp4").exists()


def _sample(live: StackUnderTest, job: str, start: int, end: int) -> str:
    """Order a clip as the page "Creating VOD Clips" does, and return its id when its exact file is cut."""
    body: dict[str, Any] = json.loads(SAMPLE.read_text().replace("PUT-LIVE-JOB-ID-HERE", job))
    body["outputs"][0] |= {"stream_start_time": start, "stream_end_time": end, "wait": True}
    clip = str(live.post("/v1/vods", body)["vod_jobs"][0]["jvod_id"])
    until(lambda: live.get(f"/v1/vods/{clip}")["accuracy"] == "frame", "the exact file", 90)
    return clip


def test_a_clip_is_finished_when_video_cloud_has_ingested_it(places: Places, programme: Path, tmp_path: Path) -> None:
    live, theirs = places.live, places.cloud
    places.store("USER_VIDEOCLOUD_CREDENTIAL_LABEL", "videocloud", CLIENT, SECRET, account_id=ACCOUNT)
    job = live.job()
    with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
        until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
        clip = _sample(live, job["id"], 1, 3)
    file = live.download(clip, tmp_path / "clip.mp4").read_bytes()
    until(lambda: theirs.is_ingesting(file), "the exact file to be ingested", 90)
    made = live.get(f"/v1/vods/{clip}")
    assert made["jvod_state"] != "finished"
    assert [one["state"] for one in made["destinations"]] != ["delivered"]
    theirs.end("finished")
    made = live.finished(clip, 90)
    [(video, fields)] = theirs.cloud.videos.items()
    assert (made["jvod_type"], made["destinations"][0]["location"]) == ("videocloud", f"videocloud://{ACCOUNT}/{video}")
    assert (fields["name"], fields["tags"]) == ("One Minute Clip", ["live", "clip"])
    assert theirs.cloud.ingested[-1][0] == video
    assert theirs.cloud.ingested[-1][1]["capture-images"] is True

    theirs.end("failed", "BAD_SOURCE", "cannot be decoded")
    failing = _sample(live, job["id"], 1, 2)
    until(lambda: live.get(f"/v1/vods/{failing}")["jvod_state"] == "failed", "the clip to fail", 90)
    assert "BAD_SOURCE: cannot be decoded" in live.get(f"/v1/vods/{failing}")["error"]
    assert not theirs.cloud.wrong
    assert SECRET not in live.log()
