"""What is kept free on a disk, when recording ends and begins again, and when the broker is started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.cli.broker import BrokerCare, says_write_failed
from services.ingester.disk import Disk
from shared.runtime.logging import get_logger
from shared.runtime.settings import Settings
from shared.store import StoreFull
from shared.store.reserve import Reserve, Room, store_reserve

MIB, GIB = 1 << 20, 1 << 30


class FakeDisk:
    """A file system whose free space is set."""

    def __init__(self, total: int, free: int) -> None:
        self.total, self.free, self.gone = total, free, False

    def __call__(self, _folder: Path) -> tuple[int, int, int]:
        if self.gone:
            raise OSError(5, "Input/output error")
        return self.total, self.total - self.free, self.free


@pytest.mark.parametrize(
    ("total", "kept"),
    [(40 * MIB, 10 * MIB), (128 * MIB, 32 * MIB), (640 * MIB, 32 * MIB), (10 * GIB, GIB // 2), (4000 * GIB, GIB)],
)
def test_a_twentieth_is_kept_free_within_bounds(total: int, kept: int) -> None:
    reserve = Reserve(Path("/"))
    assert reserve.kept(Room(total, 0, total)) == kept
    assert reserve.ample(Room(total, 0, total)) == kept * 3 // 2


def test_the_setting_decides_and_a_store_in_s3_has_no_reserve(tmp_path: Path) -> None:
    room = Room(10 * GIB, 0, 10 * GIB)
    for text, kept in (("", GIB // 2), ("0", 0), ("3GiB", 3 * GIB), ("500000", 500_000)):
        assert store_reserve(Settings(data_dir=tmp_path, disk_reserve=text)).kept(room) == kept
    assert store_reserve(Settings(data_dir=tmp_path, store="s3://bucket", disk_reserve="3GiB")).kept(room) == 0
    for wrong in ("much", "-1"):
        with pytest.raises(ValueError, match="disk_reserve"):
            Settings(disk_reserve=wrong)


def test_a_folder_that_is_not_made_yet_is_measured_where_it_will_be(tmp_path: Path) -> None:
    asked: list[Path] = []

    def measure(folder: Path) -> tuple[int, int, int]:
        asked.append(folder)
        return 1, 0, 1

    Reserve(tmp_path / "media" / "live", measure=measure).room()
    assert asked == [tmp_path]


def test_other_writers_stop_before_recordings_do() -> None:
    disk = FakeDisk(10 * GIB, 2 * GIB)
    reserve = Reserve(Path("/"), measure=disk)
    reserve.require(GIB // 2)
    with pytest.raises(StoreFull, match="2048 MiB are free, 513 MiB are needed, 1536 MiB must stay free"):
        reserve.require(513 * MIB)
    assert reserve.short(reserve.room()) == 2 * GIB, "the oldest recordings go before that, where they may"
    disk.free = 1500 * MIB
    with pytest.raises(StoreFull):
        reserve.require(0)
    assert Disk(reserve, lambda: None).look() == ""


def test_recording_ends_below_the_reserve_and_begins_again_well_above_it() -> None:
    disk = FakeDisk(10 * GIB, GIB)
    watch = Disk(Reserve(Path("/"), measure=disk), lambda: None)
    with capture_logs() as logs:
        for free, full in ((512, False), (511, True), (513, True), (767, True), (768, False), (513, False)):
            disk.free = free * MIB
            assert bool(watch.look()) == full, free
            assert bool(watch.faults()) == full
    assert [line["event"] for line in logs] == ["disk.full", "disk.room_again"]
    disk.free = 100 * MIB
    with pytest.raises(StoreFull, match="the disk is full: 100 MiB are free, recording needs 768 MiB"):
        watch.require()
    disk.gone = True
    assert watch.look(), "what is not known does not change"


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (b"[1] 2026/01/01 00:00:00.0 [ERR] Filestore [EVENTS] Critical write error: write /d/1.blk: no space", True),
        (b"[1] 2026/01/01 00:00:00.0 [ERR] JetStream out of resources, will be DISABLED", True),
        (b"[1] 2026/01/01 00:00:00.0 [WRN] consumer: write /d/o.dat: no space left on device", True),
        (b"[1] 2026/01/01 00:00:00.0 [INF]   Write error handling: on", False),
        (b"[1] 2026/01/01 00:00:00.0 [ERR] 127.0.0.1:4 - cid:5 - authentication error", False),
    ],
)
def test_a_failed_write_is_known_by_its_line(line: bytes, failed: bool) -> None:
    assert says_write_failed(line) == failed


def test_the_broker_waits_for_half_the_reserve() -> None:
    async def restart() -> None:
        raise AssertionError("nobody asked for it")

    disk = FakeDisk(10 * GIB, 255 * MIB)
    care = BrokerCare(Reserve(Path("/"), measure=disk), restart, get_logger())
    assert not care.has_room()
    disk.free = 256 * MIB
    assert care.has_room()
    disk.gone = True
    assert not care.has_room()
