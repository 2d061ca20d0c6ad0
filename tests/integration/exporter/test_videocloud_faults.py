"""Video Cloud between two exporters, with keys that end and answers that lack what counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from services.exporter.destinations import s3_upload
from shared.errors import DestinationFailed
from tests.support.uploads import Kept
from tests.support.videocloud_scene import BIG, PART, SMALL, KilledError, Scene, killer, put
from tests.support.web_moto import Meddled, fault, meddled
from tests.support.web_peer import Said, peer
from tests.support.web_videocloud import Cloud


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


@pytest.mark.parametrize("ends", [True, False], ids=["finished", "being ingested"])
async def test_what_a_killed_fast_delivery_left_is_the_exact_ones_video_by_then(scene: Scene, ends: bool) -> None:
    """The exact file went into the video that the fast one had made, before the fast one's note is cleared away."""
    fast, exact = Kept(on_keep=killer('"upload"')), Kept(on_keep=lambda _note: None if ends else killer('"job"')(_note))
    with pytest.raises(KilledError):
        await put(scene.to(), BIG, fast)
    if ends:
        await put(scene.to("frame"), SMALL, exact)
    else:
        with pytest.raises(KilledError):
            await put(scene.to("frame"), SMALL, exact)
    await scene.to().discard(fast)
    assert len(scene.cloud.videos) == 1
    exact.on_keep = lambda _note: None
    await put(scene.to("frame"), SMALL, exact)
    assert await scene.to("frame").holds(SMALL)
    assert scene.cloud.counts["create"] == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken"])
async def test_lent_keys_that_end_in_the_middle_are_asked_for_anew(scene: Scene, code: str) -> None:
    """They last a day at most; what they have uploaded counts."""
    scene.cloud.bucket.instead["part"] = [fault(400, code)]
    kept = Kept()
    with pytest.raises(DestinationFailed) as caught:
        await put(scene.to(), BIG, kept)
    assert not caught.value.final
    await put(scene.to(), BIG, kept)
    assert scene.cloud.counts["urls"] == 2
    assert [data for _, _, data in scene.cloud.ingested] == [BIG.data]


@pytest.mark.parametrize("step", ["create", "find"])
async def test_an_answer_without_the_videos_id_is_told(scene: Scene, step: str) -> None:
    scene.cloud.faults[step] = [Said(200, b'{"tags": ["reelay-' + b"e" * 32 + b'"]}')]
    with pytest.raises(DestinationFailed, match="without an id") as caught:
        await put(scene.to(), SMALL, Kept())
    assert not caught.value.final
