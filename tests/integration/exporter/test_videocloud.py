"""Clips to Video Cloud: one video, whatever dies; done when its ingest job is; refusals in Video Cloud's own words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from services.exporter.destinations import s3_upload
from services.exporter.destinations.videocloud import VideoCloudMaker, Waits
from services.exporter.destinations.videocloud_api import Bases
from shared.errors import DestinationFailed, NotYet
from shared.runtime.clock import SystemClock
from tests.support.uploads import Kept, MemoryFile, credential, order
from tests.support.videocloud_scene import BIG, PART, SMALL, SOON, WAITS, KilledError, Scene, killer, put
from tests.support.web_moto import Meddled, fault, meddled
from tests.support.web_peer import Said, peer
from tests.support.web_videocloud import ACCOUNT, CLIENT, SECRET, Cloud

EXPORT = "e" * 32


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "LATER_S", 0.01)
    monkeypatch.setattr(s3_upload, "PART", PART)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Meddled]:
    with meddled() as found:
        yield found


@pytest.fixture
async def scene(bucket: Meddled) -> AsyncIterator[Scene]:
    bucket.clear()
    cloud = Cloud(bucket)
    async with peer(cloud.handle) as server:
        yield Scene(cloud, server)
    assert not cloud.wrong


@pytest.mark.parametrize("file", [SMALL, BIG], ids=["small", "big"])
async def test_a_clip_becomes_a_video_that_is_done_when_its_job_is(scene: Scene, file: MemoryFile) -> None:
    kept = Kept()
    location = await put(scene.to(ingest={"capture-images": True, "profile": "hd"}), file, kept)
    [(video, request, data)] = scene.cloud.ingested
    assert location == f"videocloud://{ACCOUNT}/{video}"
    assert data == file.data
    assert scene.cloud.videos[video] == {
        "id": video, "account_id": ACCOUNT, "name": "Goal", "tags": ["live"], "reference_id": f"reelay-{EXPORT}",
    }  # fmt: skip
    assert set(request) == {"master", "capture-images", "profile"}
    assert scene.cloud.jobs["job-0"]["state"] == "finished"
    assert await scene.to().holds(file)
    assert not await scene.to().holds(MemoryFile(b"another"))
    assert not any(secret in note for note in kept.notes for secret in ("lent", "token", SECRET, "Signature"))


async def test_the_exact_file_replaces_the_fast_one_in_the_same_video(scene: Scene) -> None:
    await put(scene.to(), SMALL, Kept())
    await put(scene.to("frame"), BIG, Kept())
    assert len(scene.cloud.videos) == 1
    assert [(video, data) for video, _, data in scene.cloud.ingested] == [
        (next(iter(scene.cloud.videos)), file.data) for file in (SMALL, BIG)
    ]


async def test_nobody_is_held_while_it_ingests(scene: Scene) -> None:
    """One look a put; a file is held when its job is finished, not when its bytes are there."""
    scene.cloud.states = ["processing"] * 3 + ["finished"]
    kept = Kept()
    for looks in range(1, 4):
        with pytest.raises(NotYet):
            await scene.to().put(BIG, kept)
        assert scene.cloud.counts["job"] == looks
        assert not await scene.to().holds(BIG)
    assert await scene.to().put(BIG, kept) == f"videocloud://{ACCOUNT}/{next(iter(scene.cloud.videos))}"
    assert await scene.to().holds(BIG)
    assert (len(scene.cloud.jobs), scene.cloud.counts["urls"]) == (1, 1)
    scene.cloud.jobs["job-0"]["state"] = "failed"
    assert not await scene.to().holds(BIG)


async def test_the_exact_file_waits_for_the_fast_ones_job(scene: Scene) -> None:
    scene.cloud.states = ["processing"] * 3 + ["finished"]
    fast = Kept(on_keep=killer('"job"'))
    with pytest.raises(KilledError):
        await put(scene.to(), SMALL, fast)
    job, looks = scene.cloud.jobs["job-0"], scene.cloud._jobs

    def jobs(call: Any, video: str) -> Said:
        said = looks(call, video)
        if scene.cloud.counts["jobs"] == 3:
            job["state"] = "finished"
        return said

    scene.cloud._jobs = jobs  # type: ignore[method-assign]
    await put(scene.to("frame"), BIG, Kept())
    assert [data for _, _, data in scene.cloud.ingested] == [SMALL.data, BIG.data]


# When the exporter dies: after which step's answer was lost, or after which note was kept.
DEATHS = {
    "created, not noted": ("create", ""),
    "noted": ("", '"video"'),
    "uploading": ("", '"upload"'),
    "asked to ingest": ("", '"asked_ms"'),
    "ingest, not noted": ("ingest", ""),
    "job noted": ("", '"job"'),
}


@pytest.mark.parametrize("own", [{}, {"reference_id": "goal-7"}], ids=["our reference", "the user's"])
@pytest.mark.parametrize(("step", "note"), DEATHS.values(), ids=DEATHS)
async def test_wherever_it_dies_there_is_one_video_and_one_job(
    scene: Scene, step: str, note: str, own: dict[str, str]
) -> None:
    kept = Kept()
    if step:
        scene.cloud.after[step] = lambda _said: None
    else:
        kept.on_keep = killer(note)
    options = {"video": {"name": "Goal", **own}}
    with pytest.raises((KilledError, DestinationFailed)):
        await put(scene.to(**options), BIG, kept)
    kept.on_keep = lambda _note: None
    await put(scene.to(**options), BIG, kept)
    assert len(scene.cloud.videos) == 1
    assert len(scene.cloud.jobs) == 1
    assert [data for _, _, data in scene.cloud.ingested] == [BIG.data]


async def test_an_upload_goes_on_where_the_bucket_has_the_same_key(scene: Scene) -> None:
    scene.cloud.bucket.instead["join"] = [fault(500, "InternalError")]
    kept = Kept()
    with pytest.raises(DestinationFailed):
        await put(scene.to(), BIG, kept)
    scene.cloud.bucket.counts.clear()
    await put(scene.to(), BIG, kept)
    assert scene.cloud.bucket.counts["part"] == 0
    scene.cloud.same_key = False
    scene.cloud.bucket.instead["join"] = [fault(500, "InternalError")]
    kept = Kept()
    with pytest.raises(DestinationFailed):
        await put(scene.to("frame"), BIG, kept)
    await put(scene.to("frame"), BIG, kept)
    assert scene.cloud.ingested[-1][2] == BIG.data


async def test_anothers_reference_id_is_left_alone(scene: Scene) -> None:
    scene.cloud.videos["1"] = {"id": "1", "reference_id": "theirs", "tags": []}
    with pytest.raises(DestinationFailed, match="another video has the reference id theirs") as caught:
        await put(scene.to(video={"name": "Goal", "reference_id": "theirs"}), SMALL, Kept())
    assert caught.value.final
    assert not scene.cloud.ingested


async def test_a_token_that_has_ended_is_renewed_once(scene: Scene) -> None:
    scene.cloud.faults["urls"] = [Said(401, b'[{"error_code":"UNAUTHORIZED"}]')]
    await put(scene.to(), SMALL, Kept())
    assert scene.cloud.counts["token"] == 2
    scene.cloud.faults["count"] = [Said(401), Said(401)]
    with pytest.raises(DestinationFailed, match="HTTP 401") as caught:
        await scene.to().test()
    assert caught.value.final


class Refusal(NamedTuple):
    step: str
    said: Said
    final: bool
    words: str


ERRORS = b'[{"error_code":"VALIDATION_ERROR","message":"name: required"},{"error_code":"X","message":"more"}]'
REFUSALS = {
    "no such field": Refusal("create", Said(422, ERRORS), True, "VALIDATION_ERROR: name: required; X: more"),
    "no right": Refusal("urls", Said(403, b'[{"error_code":"FORBIDDEN","message":"no"}]'), True, "FORBIDDEN: no"),
    "too often": Refusal("create", Said(429, b""), False, "does not say why"),
    "down": Refusal("ingest", Said(503, b"<html>"), False, "HTTP 503"),
    "no keys": Refusal("urls", Said(200, b"{}"), False, "names no bucket"),
    "no object": Refusal("create", Said(200, b"[]"), False, "something else"),
    "redirects inside": Refusal("token", Said(307, fields={"Location": "http://169.254.169.254/"}), True, "redirects"),
    "gone": Refusal("urls", Said(404, b"[]"), False, "HTTP 404"),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
async def test_refusals_are_told_in_their_own_words(scene: Scene, case: Refusal) -> None:
    scene.cloud.faults[case.step] = [case.said]
    kept = Kept()
    with pytest.raises(DestinationFailed, match=case.words) as caught:
        await put(scene.to(), SMALL, kept)
    assert caught.value.final == case.final
    if not case.final:
        await put(scene.to(), SMALL, kept)
        assert len(scene.cloud.videos) == 1


async def test_a_wrong_secret_is_final_and_never_shown(scene: Scene) -> None:
    for work in (put(scene.to(secret="not-the-one"), SMALL, Kept()), scene.to(secret="not-the-one").test()):
        with pytest.raises(DestinationFailed, match="client secret is not accepted") as caught:
            await work
        assert caught.value.final
        assert "not-the-one" not in str(caught.value)
    await scene.to().test()
    assert not scene.cloud.videos


async def test_a_failed_ingest_is_told_and_final(scene: Scene) -> None:
    scene.cloud.states, scene.cloud.failure = ["processing", "failed"], ("BAD_SOURCE", "cannot be decoded")
    with pytest.raises(DestinationFailed, match="BAD_SOURCE: cannot be decoded") as caught:
        await put(scene.to(), SMALL, Kept())
    assert caught.value.final


async def test_an_ingest_that_never_ends_is_given_up(scene: Scene) -> None:
    scene.cloud.states = ["processing"]
    with pytest.raises(DestinationFailed, match="has not ingested the file within") as caught:
        await put(scene.to(waits=Waits(SOON, SOON, SOON * 20)), SMALL, Kept())
    assert caught.value.final


async def test_a_poll_that_fails_now_and_then_is_no_end(scene: Scene) -> None:
    scene.cloud.states = ["processing"] * 4 + ["finished"]
    scene.cloud.faults["job"] = [Said(404, b"[]"), Said(502), None]
    await put(scene.to(), SMALL, Kept())


async def test_a_video_that_was_deleted_in_between_is_made_again(scene: Scene) -> None:
    await put(scene.to(), SMALL, Kept())
    scene.cloud.videos.clear()
    await put(scene.to("frame"), BIG, Kept())
    kept = Kept(on_keep=killer('"upload"'))
    with pytest.raises(KilledError):
        await put(scene.to("frame"), BIG, kept)
    scene.cloud.videos.clear()
    kept.on_keep = lambda _note: None
    with pytest.raises(DestinationFailed) as caught:
        await put(scene.to("frame"), BIG, kept)
    assert not caught.value.final
    await put(scene.to("frame"), BIG, kept)
    assert len(scene.cloud.videos) == 1


async def test_what_was_never_ingested_is_removed(scene: Scene) -> None:
    kept = Kept(on_keep=killer('"upload"'))
    with pytest.raises(KilledError):
        await put(scene.to(), BIG, kept)
    assert scene.cloud.videos
    await scene.to().discard(kept)
    await scene.to().discard(kept)
    assert not scene.cloud.videos
    done = Kept()
    await put(scene.to(), BIG, done)
    await scene.to().discard(done)
    assert scene.cloud.videos


ORDERS = {
    "master": {"ingest": {"master": {"url": "http://theirs"}}},
    "no account": {"account": ""},
    "no object": {"video": "Goal"},
}


@pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
def test_an_order_that_cannot_be_read_is_final(options: dict[str, Any]) -> None:
    maker = VideoCloudMaker.of(
        (), httpx.create_ssl_context(), SystemClock(), Bases("http://a", "http://b", "http://c"), WAITS
    )
    account = "" if "account" in options else ACCOUNT
    given = credential("videocloud", CLIENT, SECRET, account_id=account)
    with pytest.raises(DestinationFailed) as caught:
        maker(order("", given, **{key: value for key, value in options.items() if key != "account"}))
    assert caught.value.final
