"""Downloads: ranges, validators, replacement under way, signed links, the library."""

import asyncio

import httpx
import pytest

from services.gateway.native.library import routes as library_api
from shared.messages.clips import ClipCreate
from shared.store.library import LibraryFile
from shared.store.library_folder import FolderLibrary
from tests.support.api_gateway import Gateway

DATA = bytes(range(256)) * 40_000  # 10 MB: more than sockets and the first pieces hold


async def clip(api: Gateway, label: str = "") -> ClipCreate:
    job = (await api.job())["id"]
    await api.publish(job)
    body = {"live_job_id": job, "outputs": [{"duration": 5, "label": label}]}
    return await api.command((await api.http.post("/v1/vods", json=body)).json()["vod_jobs"][0]["jvod_id"])


async def test_ranges_validators_and_heads(api: Gateway) -> None:
    command = await clip(api, 'Finale "1:0" ⚽')
    await api.write_clip(command, file=api.put_file(command, DATA, sha256="ab" * 32))
    url = f"/v1/vods/{command.clip}/media.mp4"
    whole = await api.http.get(url)
    assert whole.content == DATA
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["repr-digest"].startswith("sha-256=:q6ur")
    assert "filename*=UTF-8''Finale%20%221%200%22%20%E2%9A%BD.mp4" in whole.headers["content-disposition"]
    tag = whole.headers["etag"]
    part = await api.http.get(url, headers={"Range": "bytes=1000-1999", "If-Range": tag})
    assert (part.status_code, part.content) == (206, DATA[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(DATA)}"
    tail = await api.http.get(url, headers={"Range": "bytes=-3000000"})
    assert tail.content == DATA[-3_000_000:]
    head = await api.http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")
    assert (await api.http.get(url, headers={"If-None-Match": tag})).status_code == 304
    outside = await api.http.get(url, headers={"Range": f"bytes={len(DATA)}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    stale = await api.http.get(url, headers={"Range": "bytes=1-2", "If-Range": '"other"'})
    assert (stale.status_code, len(stale.content)) == (200, len(DATA))


GONE = "Wed, 21 Oct 2015 07:28:00 GMT"
CONDITIONS = [
    ({"If-Match": "{tag}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"other"'}, 412),
    ({"If-Match": "W/{tag}"}, 412),
    ({"If-Match": '"other"', "If-None-Match": "{tag}", "Range": "bytes=0-1"}, 412),
    ({"If-Match": "{tag}", "If-None-Match": "{tag}"}, 304),
    ({"If-None-Match": "{tag}", "Range": "bytes=0-1"}, 304),
    ({"If-Match": "{tag}", "Range": "bytes=0-1"}, 206),
    ({"If-Range": "W/{tag}", "Range": "bytes=0-1"}, 200),
    ({"If-Range": GONE, "Range": "bytes=0-1"}, 200),
    ({"If-Unmodified-Since": GONE}, 200),
    ({"If-Modified-Since": "Wed, 21 Oct 2099 07:28:00 GMT"}, 200),
    ({"Range": "bytes=99999999999-"}, 416),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
async def test_conditions_for_get_and_head(api: Gateway, headers: dict[str, str], status: int) -> None:
    """A HEAD is answered as a GET without a range would be."""
    command = await clip(api)
    await api.write_clip(command, file=api.put_file(command, DATA))
    url = f"/v1/vods/{command.clip}/media.mp4"
    tag = (await api.http.head(url)).headers["etag"]
    asked = {name: value.replace("{tag}", tag) for name, value in headers.items()}
    assert (await api.http.get(url, headers=asked)).status_code == status
    head = await api.http.head(url, headers=asked)
    assert head.status_code == (200 if status in {206, 416} else status)
    assert "content-range" not in head.headers
    if head.status_code == 200:
        assert head.headers["content-length"] == str(len(DATA))


async def test_a_download_goes_on_while_its_file_is_replaced_and_removed(api: Gateway) -> None:
    command = await clip(api)
    fast = api.put_file(command, DATA)
    await api.write_clip(command, file=fast)
    url = f"/v1/vods/{command.clip}/media.mp4"
    async with api.http.stream("GET", url) as answer:
        pieces = answer.aiter_bytes()
        got = await anext(pieces)
        exact = api.put_file(command, b"exact", "frame")
        await api.write_clip(command, file=exact)
        await asyncio.to_thread(api.parts.store.delete, fast.key)
        async for piece in pieces:
            got += piece
    assert got == DATA
    after = await api.http.get(url)
    assert after.content == b"exact"
    assert after.headers["etag"] != answer.headers["etag"]


async def test_a_client_that_leaves_disturbs_nobody(api: Gateway) -> None:
    command = await clip(api)
    await api.write_clip(command, file=api.put_file(command, DATA))
    url = f"/v1/vods/{command.clip}/media.mp4"
    for _ in range(3):
        async with api.http.stream("GET", url) as answer:
            await anext(answer.aiter_bytes())
    assert (await api.http.get(url, headers={"Range": "bytes=0-9"})).content == DATA[:10]


async def test_a_file_that_is_gone_is_a_404(api: Gateway) -> None:
    command = await clip(api)
    file = api.put_file(command, b"x")
    await api.write_clip(command, file=file)
    await asyncio.to_thread(api.parts.store.delete, file.key)
    assert (await api.http.get(f"/v1/vods/{command.clip}/media.mp4")).status_code == 404
    await api.write_clip(command, file=None, state="failed", error="no video")
    answer = await api.http.get(f"/v1/vods/{command.clip}/media.mp4")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_NOT_FOUND")


async def test_a_signed_link_needs_no_key_and_cannot_be_changed(api: Gateway) -> None:
    command = await clip(api)
    await api.write_clip(command, file=api.put_file(command, b"signed"))
    link = (await api.http.get(f"/v1/vods/{command.clip}")).json()["signed_url"]
    async with httpx.AsyncClient() as nobody:
        assert (await nobody.get(link)).content == b"signed"
        assert (await nobody.get(link.split("?")[0])).status_code == 401
        for changed in (
            link.replace("account=main", "account=other"),
            link.replace("expires=", "expires=9"),
            link[:-1] + ("A" if link[-1] != "A" else "B"),
            link.replace(command.clip, "0" * 32),
        ):
            assert (await nobody.get(changed)).status_code == 403
        assert (await nobody.get(link.replace("expires=", "expires=x"))).status_code == 400
        api.clock.ahead_ms = 26 * 3_600_000
        assert (await nobody.get(link)).status_code == 403


async def test_the_library_shows_an_account_s_files_and_nothing_else(api: Gateway) -> None:
    folder = api.folder / "library" / "main"
    assert (await api.http.get("/v1/library")).json() == {"files": [], "next_token": None}
    folder.mkdir(parents=True)
    for name in ("b.mp4", "a.mp4", "c.mp4"):
        (folder / name).write_bytes(name.encode() * 10)
    (folder / ".draft.mp4").write_bytes(b"draft")
    (folder / ".locks").mkdir()
    (api.folder / "library" / "other").mkdir()
    (api.folder / "library" / "other" / "secret.mp4").write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(api.folder / "admin.key")
    first = (await api.http.get("/v1/library", params={"page_size": 2})).json()
    assert [f["name"] for f in first["files"]] == ["a.mp4", "b.mp4"]
    second = (await api.http.get("/v1/library", params={"start_token": first["next_token"]})).json()
    assert [f["name"] for f in second["files"]] == ["c.mp4"]
    got = await api.http.get(first["files"][0]["url"], headers={"Range": "bytes=0-4"})
    assert (got.status_code, got.content) == (206, b"a.mp4")
    assert (await api.http.head(first["files"][0]["url"])).headers["content-length"] == "50"
    for bad in (".draft.mp4", "link.mp4", "secret.mp4", "..%2f..%2fadmin.key", "%2e%2e", "nope.mp4", ".locks"):
        assert (await api.http.get(f"/v1/library/{bad}")).status_code == 404, bad


@pytest.mark.parametrize("swaps", [1, 2, 3])
@pytest.mark.parametrize("length", [5000, 20_000, 700_000], ids=["shorter", "as long", "longer"])
async def test_a_library_file_that_is_swapped_between_look_and_open_is_served_as_one(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, swaps: int, length: int
) -> None:
    """Headers of one file never come with bytes of another: the newest is sent whole, or nothing."""
    folder = api.folder / "library" / "main"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"swapped-{swaps}-{length}.mp4"
    (folder / name).write_bytes(b"old" + bytes(19_997))
    new = b"new" + bytes(length - 3)
    look, left = FolderLibrary.look, [swaps]

    def swapped(self: FolderLibrary, account: str, name: str) -> LibraryFile | None:
        info, path = look(self, account, name), folder / name
        if left[0]:
            left[0] -= 1
            other = path.with_name("other.part")
            other.write_bytes(new)
            other.replace(path)
        return info

    monkeypatch.setattr(FolderLibrary, "look", swapped)
    answer = await api.http.get(f"/v1/library/{name}")
    if swaps == library_api.TRIES:
        assert answer.status_code == 404
        answer = await api.http.get(f"/v1/library/{name}")
    assert answer.status_code == 200
    assert answer.content == new
    assert int(answer.headers["content-length"]) == length
    again = await api.http.get(f"/v1/library/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_a_library_file_that_becomes_a_link_between_look_and_open_is_not_followed(
    api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = api.folder / "library" / "main"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.mp4").write_bytes(b"mine")
    outside = api.folder / "outside"
    outside.write_bytes(b"secret")
    look = FolderLibrary.look

    def swapped(self: FolderLibrary, account: str, name: str) -> LibraryFile | None:
        info, path = look(self, account, name), folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(outside)
        return info

    monkeypatch.setattr(FolderLibrary, "look", swapped)
    answer = await api.http.get("/v1/library/a.mp4")
    assert answer.status_code == 404
    assert b"secret" not in answer.content
