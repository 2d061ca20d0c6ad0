"""Files to buckets of real servers, which check signatures: whole, in parts, resumed, replaced, refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Iterator
from typing import Any

import httpx
import pytest

from services.exporter.destinations import s3_upload, telling
from services.exporter.destinations.s3 import S3Destination, S3Maker
from shared.errors import DestinationFailed
from tests.support.uploads import LOOPBACK, MIB, Kept, MemoryFile, credential, noise, order
from tests.support.web_line import Line, line
from tests.support.web_servers import PASSWORD, USER, Bucket, rclone_s3, weed_s3

MAKER = S3Maker.of(LOOPBACK, httpx.create_ssl_context())
PART = 5 * MIB  # what S3 servers take at least
BIG = 2 * PART + 7


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts need little time."""
    monkeypatch.setattr(s3_upload, "PART", PART)
    monkeypatch.setattr(s3_upload, "LATER_S", 0.05)
    monkeypatch.setattr(telling, "EVERY_S", 0.1)


@pytest.fixture(scope="module", params=[weed_s3, rclone_s3], ids=["seaweedfs", "rclone"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with request.param(tmp_path_factory.mktemp("s3")) as found:
        yield found


def destination(bucket: Bucket, key: str, at: int = 0, **options: Any) -> S3Destination:
    more = {"endpoint": f"http://127.0.0.1:{at}"} if at else {}
    return MAKER(order(f"s3://{bucket.name}/{key}", bucket.credentials(**more), **options))


@pytest.mark.parametrize("known", [True, False], ids=["checksum", "no checksum"])
@pytest.mark.parametrize("size", [0, 1, PART, BIG])
async def test_a_file_arrives_whole_and_is_told_from_another_of_its_size(
    bucket: Bucket, size: int, known: bool
) -> None:
    to, file, kept = destination(bucket, "day 1/"), MemoryFile(noise(size), known=known), Kept()
    assert not await to.holds(MemoryFile(noise(size + 1)))
    assert await to.put(file, kept) == f"s3://{bucket.name}/day 1/clip.mp4"
    assert bucket.body("day 1/clip.mp4") == file.data
    assert kept.totals[-1] == size
    assert await to.holds(file)
    assert size == 0 or not await to.holds(MemoryFile(noise(size, seed=1), known=known))
    assert not bucket.unfinished()


async def test_the_exact_file_replaces_the_fast_one_of_equal_size(bucket: Bucket) -> None:
    for seed in (1, 2):
        file = MemoryFile(noise(BIG, seed))
        to = destination(bucket, "same.mp4")
        assert not await to.holds(file)
        await to.put(file, Kept())
        assert bucket.body("same.mp4") == file.data


async def test_options_and_type_are_the_objects(bucket: Bucket) -> None:
    options = {"content_type": "video/x-test", "cache_control": "max-age=5", "metadata": {"desk": "sport"}}
    await destination(bucket, "o.mp4", **options).put(MemoryFile(b"film"), Kept())
    head = bucket.client.head_object(Bucket=bucket.name, Key="o.mp4")
    assert head["ContentType"] == "video/x-test"
    metadata = {name.lower(): value for name, value in head["Metadata"].items()}
    assert metadata["desk"] == "sport"


@pytest.mark.parametrize("known", [True, False], ids=["checksum", "no checksum"])
async def test_after_a_kill_in_the_middle_only_the_rest_is_sent(bucket: Bucket, known: bool) -> None:
    file, kept, key = MemoryFile(noise(7 * PART), known=known), Kept(), f"k{known}.mp4"
    async with line(port(bucket), hold_after=6 * PART) as held:
        await dropped(destination(bucket, key, held.port).put(file, kept), held)
    named = {"Bucket": bucket.name, "Key": key, "UploadId": json.loads(kept.resume)["upload"]}
    parts = len(bucket.client.list_parts(**named)["Parts"])
    assert parts
    async with line(port(bucket)) as counted:
        await destination(bucket, key, counted.port).put(file, kept)
    assert bucket.body(key) == file.data
    assert counted.to_server < (7 - parts) * PART + MIB // 4
    assert len(kept.notes) == 1


def port(bucket: Bucket) -> int:
    return int(bucket.endpoint.rpartition(":")[2])


async def dropped(put: Coroutine[Any, Any, str], held: Line) -> None:
    """Start a put, and drop it once the line has stopped."""
    task = asyncio.create_task(put)
    await held.full.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_connection_cut_at_half_is_made_again_within_the_put(bucket: Bucket) -> None:
    file = MemoryFile(noise(4 * PART))
    async with line(port(bucket), cut_after=2 * PART) as cut:
        await destination(bucket, "cut.mp4", cut.port).put(file, Kept())
    assert cut.cuts == 1
    assert bucket.body("cut.mp4") == file.data


async def test_a_slow_server_is_told_of_within_a_part(bucket: Bucket) -> None:
    kept = Kept()
    async with line(port(bucket), rate=4 * MIB) as slow:
        await destination(bucket, "slow.mp4", slow.port).put(MemoryFile(noise(PART + MIB)), kept)
    assert any(0 < total < MIB + PART and total % PART for total in kept.totals), kept.totals


async def test_a_put_that_is_dropped_leaves_nothing(bucket: Bucket) -> None:
    kept = Kept()
    async with line(port(bucket), hold_after=PART) as stuck:
        await dropped(destination(bucket, "dropped.mp4", stuck.port).put(MemoryFile(noise(BIG)), kept), stuck)
    assert "dropped.mp4" in bucket.unfinished()
    await destination(bucket, "dropped.mp4").discard(kept)
    await destination(bucket, "dropped.mp4").discard(kept)
    assert "dropped.mp4" not in bucket.unfinished()
    assert "dropped.mp4" not in bucket.names()


async def test_a_note_of_another_file_is_dropped(bucket: Bucket) -> None:
    kept = Kept()
    async with line(port(bucket), hold_after=PART) as stuck:
        await dropped(destination(bucket, "other.mp4", stuck.port).put(MemoryFile(noise(BIG)), kept), stuck)
    again = MemoryFile(noise(BIG, seed=9))
    await destination(bucket, "other.mp4").put(again, kept)
    assert bucket.body("other.mp4") == again.data
    assert "other.mp4" not in bucket.unfinished()


async def test_two_exporters_at_once_leave_one_whole_file(bucket: Bucket) -> None:
    file = MemoryFile(noise(BIG))
    one, other = Kept(), Kept()
    await asyncio.gather(destination(bucket, "two.mp4").put(file, one), destination(bucket, "two.mp4").put(file, other))
    assert bucket.body("two.mp4") == file.data
    await destination(bucket, "two.mp4").put(file, one)  # delivered again, with the note of an upload that is joined
    assert bucket.body("two.mp4") == file.data


REFUSED = {
    "no such bucket": ("s3://nope/x", USER, PASSWORD, "no such bucket"),
    "unknown key": ("s3://films/x", "AKIDWRONG", PASSWORD, "access key is not known"),
    "wrong secret": ("s3://films/x", USER, "not-the-one", "secret key is wrong"),
}


@pytest.mark.parametrize(("url", "public", "private", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("size", [1, BIG])
async def test_what_no_later_try_can_mend_is_final_and_says_why(
    bucket: Bucket, url: str, public: str, private: str, words: str, size: int
) -> None:
    to = MAKER(order(url, credential("s3", public, private, endpoint=bucket.endpoint)))
    for work in (to.put(MemoryFile(noise(size)), Kept()), to.test()):
        with pytest.raises(DestinationFailed, match=words) as caught:
            await work
        assert caught.value.final
        assert private not in str(caught.value)


async def test_a_test_leaves_nothing(bucket: Bucket) -> None:
    before = bucket.names()
    await destination(bucket, "some/where/").test()
    assert bucket.names() == before
    assert not [key for key in bucket.unfinished() if "test" in key]


async def test_a_bucket_that_vanishes_between_fast_and_exact_is_told(bucket: Bucket) -> None:
    bucket.client.create_bucket(Bucket="fleeting")
    to = MAKER(order("s3://fleeting/x", bucket.credentials()))
    await to.put(MemoryFile(b"fast"), Kept())
    bucket.client.delete_object(Bucket="fleeting", Key="x")
    bucket.client.delete_bucket(Bucket="fleeting")
    with pytest.raises(DestinationFailed, match="no such bucket"):
        await to.put(MemoryFile(b"exact"), Kept())
