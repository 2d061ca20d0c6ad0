"""Files to a folder of the installation's: whole or not at all, below it and nowhere else, and resumed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.exporter.destinations.base import Destination, Order
from services.exporter.destinations.folder import DRAFT, FolderMaker
from services.exporter.source import StoredFile
from shared.errors import DestinationFailed, NotYet
from shared.store.local import LocalStore
from shared.store.reserve import Reserve
from tests.support.disk import small_disk
from tests.support.recordings import until

DATA = bytes(range(256)) * 12_000  # three blocks
NAME = "clip.mp4"


@dataclass
class Told:
    """What a delivery tells, and where it is cut off."""

    resume: str = ""
    totals: list[int] = field(default_factory=list)
    cut_after: int = 1 << 60

    async def sent(self, total: int) -> None:
        self.totals.append(total)
        if total >= self.cut_after:
            raise KeyError("killed")

    async def keep(self, resume: str) -> None:
        self.resume = resume


@pytest.fixture
def file(tmp_path: Path) -> StoredFile:
    store = LocalStore(tmp_path / "store")
    store.put("clips/a.mp4", DATA)
    return StoredFile(store, "clips/a.mp4", len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "exports/main"
    folder.mkdir(parents=True)
    return folder


def made(root: Path | None, url: str, reserve: int = 0, accuracy: str = "frame") -> Destination:
    """Return the destination below an account's folder `root`."""
    order = Order("main", "e" * 32, accuracy, NAME, url, None, {})
    return FolderMaker(root.parent if root else None, Reserve(root or Path(), reserve))(order)


def left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a.mp4", "a.mp4"),
        ("file:///", NAME),
        ("file://localhost/x/y/", f"x/y/{NAME}"),
        ("file:///two%20words/%C3%BC.mp4", "two words/ü.mp4"),
    ],
)
async def test_where_a_url_leads(root: Path, file: StoredFile, url: str, path: str) -> None:
    to, told = made(root, url), Told()
    assert not await to.holds(file)
    location = await to.put(file, told)
    assert (root / path).read_bytes() == DATA
    assert location.startswith("file:///")
    assert await to.holds(file)
    assert told.totals[-1] == len(DATA)
    assert await to.put(file, Told()) == location, "again, over itself"
    assert left(root) == [path]


@pytest.mark.parametrize(
    "url",
    [
        "", "/a.mp4", "s3://a/b", "file://elsewhere/a.mp4", "file:///../a.mp4", "file:///x/../../a.mp4",
        "file:///%2e%2e/a.mp4", "file:///x%2f..%2f..%2fa.mp4", "file:///x//a.mp4", "file:///./a.mp4", "file:///a%00.mp4",
        "file:///a.mp4?x", f"file:///{'n' * 256}", f"file:///{'d/' * 40}a", f"file:///{DRAFT}x", "file:///a%0a.mp4",
        "file://[/a.mp4",
    ],
)  # fmt: skip
def test_what_leads_elsewhere_is_refused(root: Path, url: str) -> None:
    with pytest.raises(DestinationFailed) as refused:
        made(root, url)
    assert refused.value.final


def test_without_the_setting_all_is_refused() -> None:
    with pytest.raises(DestinationFailed, match="not enabled") as refused:
        made(None, "file:///a.mp4")
    assert refused.value.final


@pytest.mark.parametrize("link", ["folder", "name"])
async def test_a_link_is_not_followed(tmp_path: Path, root: Path, file: StoredFile, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / NAME).write_bytes(b"theirs")
    if link == "folder":
        (root / "x").symlink_to(outside)
        for call in (made(root, "file:///x/").put(file, Told()), made(root, "file:///x/").test()):
            with pytest.raises(DestinationFailed) as refused:
                await call
            assert refused.value.final
        assert not await made(root, "file:///x/").holds(file)
    else:
        (root / NAME).symlink_to(outside / NAME)
        await made(root, "file:///").put(file, Told())
        assert not (root / NAME).is_symlink()
    assert (outside / NAME).read_bytes() == b"theirs"


async def test_cut_off_and_resumed(root: Path, file: StoredFile) -> None:
    to, told = made(root, "file:///x/a.mp4"), Told(cut_after=1 << 20)
    (root / "x").mkdir()
    (root / "x/a.mp4").write_bytes(b"old")
    with pytest.raises(KeyError):
        await to.put(file, told)
    assert (root / "x/a.mp4").read_bytes() == b"old"
    again = Told(told.resume)
    await _free(lambda: to.put(file, again))
    assert min(again.totals) >= 1 << 20, "what was there was not sent again"
    assert (root / "x/a.mp4").read_bytes() == DATA
    assert left(root) == ["x/a.mp4"]


@pytest.mark.parametrize("damage", [lambda d: bytes(len(d)), lambda d: d + DATA, lambda d: b""])
async def test_what_a_power_cut_left_is_never_taken_for_the_file(
    root: Path, file: StoredFile, damage: Callable[[bytes], bytes]
) -> None:
    to, told = made(root, "file:///a.mp4"), Told(cut_after=1 << 20)
    with pytest.raises(KeyError):
        await to.put(file, told)
    draft = root / left(root)[0]
    draft.write_bytes(damage(draft.read_bytes()))
    with contextlib.suppress(DestinationFailed):
        await _free(lambda: to.put(file, Told(told.resume)))
    if not (root / "a.mp4").exists():
        await _free(lambda: to.put(file, Told(told.resume)))
    assert (root / "a.mp4").read_bytes() == DATA


async def test_discarded(root: Path, file: StoredFile) -> None:
    to, told = made(root, "file:///a.mp4"), Told(cut_after=1)
    (root / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyError):
        await to.put(file, told)
    await _free(lambda: to.discard(told))
    await to.discard(told)
    assert left(root) == ["a.mp4"]
    assert (root / "a.mp4").read_bytes() == b"old"


async def test_two_at_once(root: Path, file: StoredFile) -> None:
    """One of them comes again later; nobody sees a part of a file."""
    results = await asyncio.gather(
        *(made(root, "file:///a.mp4").put(file, Told()) for _ in range(4)), return_exceptions=True
    )
    assert all(isinstance(one, str | NotYet) for one in results), results
    assert any(isinstance(one, str) for one in results)
    assert (root / "a.mp4").read_bytes() == DATA
    await _free(lambda: made(root, "file:///a.mp4").put(file, Told()))
    assert left(root) == ["a.mp4"]


async def test_cancelled_at_any_step_and_discarded_at_once_leaves_nothing(root: Path, file: StoredFile) -> None:
    to = made(root, "file:///a.mp4")
    for steps in range(60):
        told = Told()
        task = asyncio.create_task(to.put(file, told))
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        if task.done():
            break
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if told.resume:
            await to.discard(told)
        assert left(root) in ([], ["a.mp4"]), steps


async def test_cancelled_in_the_middle_leaves_the_draft_to_the_next(root: Path, file: StoredFile) -> None:
    reached, told = asyncio.Event(), Told()

    class Slow(Told):
        async def sent(self, total: int) -> None:
            reached.set()
            await asyncio.Event().wait()

    slow = Slow()
    task = asyncio.create_task(made(root, "file:///a.mp4").put(file, slow))
    await reached.wait()
    task.cancel()
    await asyncio.wait({task})
    told.resume = slow.resume
    await _free(lambda: made(root, "file:///a.mp4").put(file, told))
    assert (root / "a.mp4").read_bytes() == DATA


@pytest.mark.parametrize("reserve", [0, 1 << 20])
async def test_a_full_disk(tmp_path: Path, file: StoredFile, reserve: int) -> None:
    with small_disk(tmp_path, "2m") as disk:
        account = disk.root / "main"
        account.mkdir()
        to = made(account, "file:///a.mp4", reserve)
        (account / "a.mp4").write_bytes(b"old")
        with pytest.raises(DestinationFailed, match=r"No space left|is full") as full:
            await to.put(file, Told())
        assert not full.value.final
        assert (account / "a.mp4").read_bytes() == b"old"


async def test_a_test_leaves_nothing(root: Path) -> None:
    await made(root, "file:///not/yet/there/a.mp4").test()
    assert is_empty(root)
    with pytest.raises(DestinationFailed):
        await made(root / "gone/main", "file:///a.mp4").test()


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


async def _free(call: Callable[[], Awaitable[object]]) -> None:
    """Call until the thread of a delivery before has let go of the draft."""

    async def called() -> bool:
        try:
            await call()
        except NotYet:
            return False
        return True

    await until(called)


async def test_an_account_has_a_folder_of_its_own(root: Path, file: StoredFile) -> None:
    (root / "a.mp4").write_bytes(b"another account's")
    order = Order("other", "e" * 32, "frame", NAME, "file:///a.mp4", None, {})
    await FolderMaker(root.parent, Reserve(root, 0))(order).put(file, Told())
    assert (root / "a.mp4").read_bytes() == b"another account's"
    assert (root.parent / "other/a.mp4").read_bytes() == DATA


async def test_the_longest_path_is_told_as_it_was_asked_for(root: Path, file: StoredFile) -> None:
    """An event holds 2,048 characters: percent-encoded, this location would have three times its bytes."""
    url = "file:///" + "/".join(["\u044f" * 125] * 4) + "/100%25 \u044f.mp4"
    location = await made(root, url).put(file, Told())
    assert location == url.replace(" ", "%20")
    assert len(location.encode()) > 1000
    assert await made(root, location).holds(file)
