"""TLS to web servers and buckets: whoever shows no certificate that is trusted and names the host gets nothing."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from services.exporter.destinations import s3_upload
from services.exporter.destinations.base import Destination
from services.exporter.destinations.library_folder import FolderShelf
from services.exporter.destinations.registry import makers
from shared.errors import DestinationFailed
from shared.messages.destinations import DestinationType
from shared.runtime.settings import Settings
from shared.store.reserve import Reserve
from tests.support.uploads import MIB, Kept, MemoryFile, credential, make_certificate, noise, order
from tests.support.web_moto import Meddled, meddled
from tests.support.web_peer import Call, Said, peer

PART = 1 << 20
FILE = MemoryFile(noise(3 * MIB + 7))
LENGTH = b'<D:multistatus xmlns:D="DAV:"><D:getcontentlength>%d</D:getcontentlength></D:multistatus>'
LOGIN = "user-of-ours", "word-of-ours"


class Certificate(NamedTuple):
    """A server's context, and the file by which it is trusted."""

    context: ssl.SSLContext
    file: Path


def certificate(folder: Path, name: str = "localhost") -> Certificate:
    key, cert = make_certificate(folder / name, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return Certificate(context, cert)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def bucket(shown: Certificate) -> Iterator[Meddled]:
    with ExitStack() as stack:
        yield stack.enter_context(meddled(shown.context, str(shown.file)))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "PART", PART)
    monkeypatch.setattr(s3_upload, "LATER_S", 0.01)


def destination(kind: DestinationType, url: str, folder: Path, trusts: Path | None, **more: str) -> Destination:
    """Return a destination as an exporter with the setting REELAY_CA_FILE makes it."""
    settings = Settings(data_dir=folder, allow_nets="127.0.0.0/8", ca_file=str(trusts or ""))  # type: ignore[call-arg, arg-type]
    made = makers(settings, FolderShelf(folder, Reserve(folder, 0)))
    return made[kind](order(url, credential(kind, *LOGIN, **more)))  # type: ignore[arg-type]


def take(call: Call) -> Said:
    return Said(207, LENGTH % FILE.size) if call.method == "PROPFIND" else Said(404 if call.method == "HEAD" else 201)


def refusal(failed: pytest.ExceptionInfo[DestinationFailed]) -> str:
    assert failed.value.final
    text = str(failed.value)
    assert "certificate" in text.lower()
    assert not any(word in text for word in LOGIN)
    return text


@pytest.mark.parametrize("scheme", ["https", "webdavs"])
async def test_a_web_servers_certificate_is_checked(shown: Certificate, tmp_path: Path, scheme: str) -> None:
    async with peer(take, tls=shown.context) as server:
        url = f"{scheme}://localhost:{server.port}/x.mp4"
        stranger = destination("http", url, tmp_path, None)
        for work in (stranger.put(FILE, Kept()), stranger.test()):
            with pytest.raises(DestinationFailed) as failed:
                await work
            refusal(failed)
        assert not server.calls, "neither the login nor a byte of the file was sent"
        assert await destination("http", url, tmp_path, shown.file).put(FILE, Kept()) == url
        assert next(call for call in server.calls if call.method == "PUT").body == FILE.data


@pytest.mark.parametrize("scheme", ["https", "webdavs"])
async def test_a_trusted_certificate_of_another_host_is_refused(tmp_path: Path, scheme: str) -> None:
    other = certificate(tmp_path, "elsewhere.example")
    async with peer(take, tls=other.context) as server:
        to = destination("http", f"{scheme}://localhost:{server.port}/x.mp4", tmp_path, other.file)
        with pytest.raises(DestinationFailed) as failed:
            await to.put(FILE, Kept())
        refusal(failed)
        assert not server.calls


async def test_what_a_secure_server_redirects_to_is_checked_too(shown: Certificate, tmp_path: Path) -> None:
    """A stranger's certificate is no better for being redirected to, and plain HTTP is never gone to."""
    other = certificate(tmp_path, "elsewhere.example")
    async with peer(take, tls=other.context) as stranger, peer(take) as plain:
        for to, words in ((f"https://localhost:{stranger.port}/x", "certificate"), (f"{plain.url}/x", "scheme")):
            moved = Said(307, fields={"Location": to})
            async with peer(take, lambda _call, moved=moved: moved, tls=shown.context) as server:
                with pytest.raises(DestinationFailed, match=words) as failed:
                    await destination("http", f"{server.url}/x.mp4", tmp_path, shown.file).put(FILE, Kept())
                assert failed.value.final
        assert not [*stranger.calls, *plain.calls]


async def test_a_buckets_certificate_is_checked(shown: Certificate, bucket: Meddled, tmp_path: Path) -> None:
    stranger = destination("s3", "s3://films/x.mp4", tmp_path, None, endpoint=bucket.endpoint)
    for work in (stranger.put(FILE, Kept()), stranger.put(MemoryFile(b"film"), Kept()), stranger.test()):
        with pytest.raises(DestinationFailed) as failed:
            await work
        refusal(failed)
    assert not bucket.counts
    to, told = destination("s3", "s3://films/x.mp4", tmp_path, shown.file, endpoint=bucket.endpoint), Kept()
    await to.put(FILE, told)
    assert bucket.client.get_object(Bucket="films", Key="x.mp4")["Body"].read() == FILE.data
    assert told.totals[-1] == FILE.size
    assert bucket.counts["part"] == 4
    assert await to.holds(FILE)


async def test_a_bucket_that_shows_another_hosts_certificate_is_refused(tmp_path: Path) -> None:
    other = certificate(tmp_path, "elsewhere.example")
    async with peer(take, tls=other.context) as server:
        to = destination("s3", "s3://films/x.mp4", tmp_path, other.file, endpoint=server.url)
        with pytest.raises(DestinationFailed) as failed:
            await to.put(FILE, Kept())
        refusal(failed)
        assert not server.calls
