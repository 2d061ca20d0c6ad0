"""Buckets that refuse, fail, lie, or are full: what is tried again, what is final, and what the user is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from services.exporter.destinations import s3_upload
from services.exporter.destinations.s3 import S3Destination, S3Maker
from services.exporter.destinations.s3_upload import MOST_PARTS, part_size
from shared.errors import DestinationFailed
from tests.support.uploads import LOOPBACK, Kept, MemoryFile, credential, noise, order
from tests.support.web_moto import Answer, Meddled, fault, meddled

CLEAN = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "HTTPS_PROXY", "AWS_CONFIG_FILE")
PART, REAL_PART = 1 << 20, s3_upload.PART
MAKER = S3Maker.of(LOOPBACK, httpx.create_ssl_context())
FILE = MemoryFile(noise(2 * PART + 5))
SMALL = MemoryFile(b"a small film")
METADATA = "http://169.254.169.254/latest/meta-data/"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "LATER_S", 0.01)
    monkeypatch.setattr(s3_upload, "PART", PART)
    for name in CLEAN:  # of this machine: nothing of it is used
        monkeypatch.setenv(name, "http://127.0.0.1:9" if "URL" in name or "PROXY" in name else "none-of-ours")


@pytest.fixture(scope="module")
def running() -> Iterator[Meddled]:
    with pytest.MonkeyPatch.context() as patch:
        for name in CLEAN:
            patch.delenv(name, raising=False)
        with meddled() as found:
            yield found


@pytest.fixture
def server(running: Meddled) -> Meddled:
    running.clear()
    return running


def destination(server: Meddled, **options: Any) -> S3Destination:
    return MAKER(order("s3://films/x.mp4", credential("s3", "AKID", "secret", endpoint=server.endpoint), **options))


class Case(NamedTuple):
    at: str
    answer: Answer
    final: bool
    words: str
    big: bool = False


def redirect(to: str) -> Answer:
    return 307, {"Location": to}, b""


REGION = {"x-amz-bucket-region": "eu-central-1", "Content-Type": "application/xml"}
ELSEWHERE = (301, REGION, fault(301, "PermanentRedirect")[2])
CASES = {
    "expired token": Case("put", fault(400, "ExpiredToken"), True, "session token has expired"),
    "bad token": Case("put", fault(400, "InvalidToken"), True, "session token is not accepted"),
    "denied": Case("create", fault(403, "AccessDenied"), True, "access is denied", True),
    "another region": Case("put", ELSEWHERE, True, "in the region eu-central-1"),
    "signed for another region": Case(
        "put", fault(400, "AuthorizationHeaderMalformed", Region="eu-west-3"), True, "in the region eu-west-3"
    ),
    "clocks": Case(
        "put", fault(403, "RequestTimeTooSkewed", RequestTime="T1", ServerTime="T2"), False, "T1 here, T2 there"
    ),
    "overloaded": Case("part", fault(503, "SlowDown"), False, "overloaded", True),
    "full": Case("part", fault(507, "XMinioStorageFull"), False, "no room is left", True),
    "full, without a word": Case("put", (507, {}, b""), False, "no room is left"),
    "takes all, then fails": Case("put", fault(500, "InternalError"), False, "the server failed"),
    "takes all parts, then fails": Case("part", fault(500, "InternalError"), False, "the server failed", True),
    "joins, then fails": Case("join", fault(200, "InternalError"), False, "InternalError|server failed", True),
    "redirects inside": Case("put", redirect(METADATA), False, "redirects"),
    "redirects for good inside": Case("put", (301, {"Location": METADATA}, b""), True, "another region"),
    "no key": Case("put", fault(400, "KMS.NotFoundException"), True, "encryption key"),
    "no such class": Case("put", fault(400, "InvalidStorageClass"), True, "storage class"),
    "not S3 at all": Case("put", (200, {"Content-Type": "text/html"}, b"<html>"), False, "Internal Server Error"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_fault_is_told_and_says_whether_another_try_can_help(server: Meddled, case: Case) -> None:
    server.always[case.at] = case.answer
    with pytest.raises(DestinationFailed, match=case.words) as caught:
        await destination(server).put(FILE if case.big else SMALL, Kept())
    assert caught.value.final == case.final
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("at", ["part", "put"])
@pytest.mark.parametrize("answer", [fault(503, "SlowDown"), fault(500, "InternalError"), fault(400, "RequestTimeout")])
async def test_what_fails_once_is_sent_again_within_the_put(server: Meddled, at: str, answer: Answer) -> None:
    server.instead[at] = [answer]
    file = FILE if at == "part" else SMALL
    await destination(server).put(file, Kept())
    assert server.client.get_object(Bucket="films", Key="x.mp4")["Body"].read() == file.data
    assert server.counts[at] == (4 if at == "part" else 2)


async def test_when_joining_failed_the_next_try_sends_no_part(server: Meddled) -> None:
    server.instead["join"] = [fault(200, "InternalError")]
    kept = Kept()
    with pytest.raises(DestinationFailed):
        await destination(server).put(FILE, kept)
    server.counts.clear()
    await destination(server).put(FILE, kept)
    assert server.counts["part"] == 0
    assert server.client.get_object(Bucket="films", Key="x.mp4")["Body"].read() == FILE.data


async def test_an_upload_that_is_gone_begins_anew(server: Meddled) -> None:
    server.instead["join"] = [fault(404, "NoSuchUpload")]
    kept = Kept()
    with pytest.raises(DestinationFailed) as caught:
        await destination(server).put(FILE, kept)
    assert not caught.value.final
    assert not kept.resume
    await destination(server).put(FILE, kept)
    assert await destination(server).holds(FILE)


def other_tag(answer: Answer) -> Answer:
    return answer[0], answer[1] | {"ETag": f'"{"0" * 32}"'}, answer[2]


async def test_bytes_that_arrive_otherwise_are_told(server: Meddled) -> None:
    await destination(server).put(SMALL, Kept())
    tries = iter([False, True, True, True, True])
    server.spoiled["part"] = lambda answer: other_tag(answer) if next(tries, False) else answer
    with pytest.raises(DestinationFailed, match="other bytes") as caught:
        await destination(server).put(MemoryFile(noise(PART + 1)), Kept())
    assert not caught.value.final


async def test_a_server_whose_etags_are_no_checksums_is_believed(server: Meddled) -> None:
    server.spoiled["put"] = other_tag
    await destination(server).put(SMALL, Kept())
    assert server.client.get_object(Bucket="films", Key="x.mp4")["Body"].read() == SMALL.data


async def test_a_server_that_says_yes_without_having_it_all_is_caught(server: Meddled) -> None:
    server.spoiled["head"] = lambda answer: (answer[0], answer[1] | {"Content-Length": "7"}, b"")
    with pytest.raises(DestinationFailed, match=f"has 7 of its {SMALL.size} bytes") as caught:
        await destination(server).put(SMALL, Kept())
    assert not caught.value.final


async def test_encryption_class_and_rights_are_asked_for(server: Meddled) -> None:
    options = {"sse": "aws:kms", "kms_key_id": "alias/ours", "storage_class": "STANDARD_IA", "acl": "private"}
    for file in (SMALL, FILE):
        await destination(server, **options).put(file, Kept())
        head = server.client.head_object(Bucket="films", Key="x.mp4")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["StorageClass"] == "STANDARD_IA"
        assert await destination(server, **options).holds(file)


URLS = {
    "no bucket": ("s3:///key", "must be s3://"),
    "another scheme": ("http://films/key", "must be s3://"),
    "a key too long": ("s3://films/" + "k" * 1025, "more than 1024"),
}


@pytest.mark.parametrize(("url", "words"), URLS.values(), ids=URLS)
def test_an_order_that_cannot_be_read_is_final(url: str, words: str) -> None:
    with pytest.raises(DestinationFailed, match=words) as caught:
        MAKER(order(url, credential("s3", "AKID", "secret")))
    assert caught.value.final


ENDPOINTS = {
    "metadata": "http://169.254.169.254",
    "private": "http://10.0.0.1:9000",
    "loopback by name": "http://localhost:9000",
    "another scheme": "ftp://example.com",
}


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
async def test_an_endpoint_inside_is_refused(endpoint: str) -> None:
    closed = S3Maker.of((), httpx.create_ssl_context())
    with pytest.raises(DestinationFailed) as caught:
        await closed(order("s3://films/x", credential("s3", "AKID", "secret", endpoint=endpoint))).put(SMALL, Kept())
    assert caught.value.final


def test_credentials_are_the_orders_alone() -> None:
    with pytest.raises(DestinationFailed, match="no credentials") as caught:
        MAKER(order("s3://films/x"))
    assert caught.value.final
    assert MAKER(order("s3://KEY:a%2Fb@films/x")).access.secret == "a/b"


@pytest.mark.parametrize("size", [0, 1, 80_000 << 20, (80_000 << 20) + 1, 1 << 40, 5 << 40])
def test_parts_are_at_most_ten_thousand(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "PART", REAL_PART)
    part = part_size(size)
    assert part >= REAL_PART
    assert part % (1 << 20) == 0
    assert -(-size // part) <= MOST_PARTS


@pytest.mark.parametrize("file", [SMALL, FILE], ids=["small", "big"])
async def test_keys_that_may_only_write_are_enough(server: Meddled, file: MemoryFile) -> None:
    server.always |= {"head": (403, {}, b""), "parts": fault(403, "AccessDenied")}
    kept = Kept()
    await destination(server).put(file, kept)
    assert not await destination(server).holds(file)
    await destination(server).put(file, kept)
    assert server.client.get_object(Bucket="films", Key="x.mp4")["Body"].read() == file.data


async def test_an_object_that_is_not_there_after_all_is_told(server: Meddled) -> None:
    server.always["head"] = (404, {}, b"")
    with pytest.raises(DestinationFailed, match="the server took the file, but has none"):
        await destination(server).put(SMALL, Kept())


async def test_reading_a_file_again_to_prove_its_parts_is_told_as_life(server: Meddled) -> None:
    """From a slow store, the parts that are there are read for longer than any pause may take."""
    file, kept = MemoryFile(FILE.data, known=False), Kept()
    server.always["join"] = fault(503, "SlowDown")
    with pytest.raises(DestinationFailed):
        await destination(server).put(file, kept)
    server.always.clear()
    server.counts.clear()
    read: list[int] = []
    file.read_bytes = 0
    kept.on_sent = lambda _total: read.append(file.read_bytes)
    await destination(server).put(file, kept)
    assert server.counts["part"] == 0
    assert read[:2] == [PART, 2 * PART]


def unfinished(server: Meddled) -> list[str]:
    return [row["Key"] for row in server.client.list_multipart_uploads(Bucket="films").get("Uploads", [])]


async def test_keys_that_may_not_list_parts_leave_no_upload_behind_at_each_try(server: Meddled) -> None:
    server.always["parts"] = fault(403, "AccessDenied")
    server.instead["join"] = [fault(500, "InternalError")] * 2
    kept = Kept()
    for _ in range(2):
        with pytest.raises(DestinationFailed):
            await destination(server).put(FILE, kept)
        assert len(unfinished(server)) == 1
    await destination(server).put(FILE, kept)
    assert unfinished(server) == []


@pytest.mark.parametrize("answer", [fault(403, "AccessDenied"), fault(503, "SlowDown")])
async def test_a_test_that_fails_in_the_middle_leaves_nothing(server: Meddled, answer: Answer) -> None:
    server.always["part"] = answer
    with pytest.raises(DestinationFailed, match=r"denied|overloaded"):
        await destination(server).test()
    assert unfinished(server) == []


@pytest.mark.parametrize("body", [b"", b"<html/>"])
async def test_an_answer_that_names_no_upload_is_told(server: Meddled, body: bytes) -> None:
    server.always["create"] = 200, {"Content-Type": "application/xml"}, body
    for work in (destination(server).put(FILE, Kept()), destination(server).test()):
        with pytest.raises(DestinationFailed, match="names no upload") as caught:
            await work
        assert not caught.value.final
