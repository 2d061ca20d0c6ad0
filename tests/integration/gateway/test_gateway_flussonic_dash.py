"""MPDs over the recorded segments: what ffmpeg plays of them, gaps, the sliding edge, and who may."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

import httpx

from tests.support.api_gateway import Gateway, until
from tests.support.flussonic_stream import Recorded, recorded
from tests.support.hls_media import FFMPEG

MPD = "{urn:mpeg:dash:schema:mpd:2011}"
RATE = 25


async def manifest(stream: Recorded, leaf: str) -> ET.Element:
    answer = await stream.player.get(stream.url(leaf))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dash+xml"
    return ET.fromstring(answer.content)


def addresses(root: ET.Element) -> list[str]:
    """Return what a player loads, as the templates and time lines say."""
    found = []
    for template in root.iter(f"{MPD}SegmentTemplate"):
        found.append(template.attrib["initialization"])
        number = int(template.attrib["startNumber"])
        for row in template.iter(f"{MPD}S"):
            for _ in range(int(row.get("r", 0)) + 1):
                found.append(template.attrib["media"].replace("$Number%08d$", f"{number:08}"))
                number += 1
    return found


def frames(url: str, *options: str) -> int:
    """Decode with ffmpeg, and return the number of pictures."""
    command = [FFMPEG, "-v", "error", "-i", url, "-map", "0:v:0", *options, "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


async def test_a_range_plays_from_its_first_to_its_last_picture(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10)
    leaf = f"archive-{stream.start_s + 2}-6.mpd"
    root = await manifest(stream, leaf)
    assert root.attrib["type"] == "static"
    assert root.attrib["mediaPresentationDuration"] == "PT6.000000S"
    (shown,) = root.iter(f"{MPD}Representation")
    assert (shown.attrib["width"], shown.attrib["height"]) == ("320", "180")
    assert shown.attrib["codecs"].startswith("avc1.")
    assert "mp4a.40.2" in shown.attrib["codecs"]
    assert await asyncio.to_thread(frames, stream.url(leaf)) == 6 * RATE
    for address in addresses(root):
        assert f"token={stream.token}" in address
        answer = await player.get(urljoin(stream.url(leaf), address))
        assert answer.status_code == 200, address
    head = await player.head(stream.url(leaf))
    assert (head.status_code, head.content) == (200, b"")


async def test_a_gap_is_the_seam_of_two_periods(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10)
    await stream.add(media, 20, 10)
    root = await manifest(stream, f"archive-{stream.start_s + 5}-20.mpd")
    periods = list(root.iter(f"{MPD}Period"))
    assert [(one.attrib["start"], one.attrib["duration"]) for one in periods] == [
        ("PT0.000000S", "PT5.000000S"), ("PT5.000000S", "PT5.000000S"),
    ]  # fmt: skip
    offsets = [int(one.attrib["presentationTimeOffset"]) for one in root.iter(f"{MPD}SegmentTemplate")]
    first = [int(next(iter(one.iter(f"{MPD}S"))).attrib["t"]) for one in periods]
    assert offsets == first, "each period begins with its first segment"
    found = addresses(root)
    assert len(found) == 2 + 10
    assert len(set(found)) == len(found)
    for address in found:
        assert (await player.get(urljoin(stream.url("x.mpd"), address))).status_code == 200


async def test_the_live_edge_slides_and_nothing_that_stays_moves(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await recorded(api, player, 11)
    await api.publish(stream.job, ago_ms=11_000)
    session = await stream.add(media, 0, 10)
    before = await manifest(stream, "index.mpd")
    assert before.attrib["type"] == "dynamic"
    assert await asyncio.to_thread(frames, stream.url("index.mpd"), "-frames:v", "20") == 20
    (period,) = before.iter(f"{MPD}Period")
    assert period.attrib["id"].startswith(session.session)
    assert len(addresses(before)) == 11
    api.clock.ahead_ms = 60_000  # the same segments, asked for later
    after = await manifest(stream, "index.mpd")
    (later,) = after.iter(f"{MPD}Period")
    assert (later.attrib, addresses(after)) == (period.attrib, addresses(before))
    assert after.attrib["availabilityStartTime"] == before.attrib["availabilityStartTime"]
    await stream.add(media, 20, 10)

    async def gone_on() -> ET.Element | None:
        (found,) = (await manifest(stream, "index.mpd")).iter(f"{MPD}Period")
        return None if found.attrib["id"] == period.attrib["id"] else found

    last = await until(gone_on)
    assert last.attrib["start"] == "PT20.000000S"
    api.clock.ahead_ms = 0


async def test_what_is_not_over_is_asked_for_later_and_strangers_get_nothing(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await recorded(api, player, 15)
    await stream.add(media, 0, 10)
    early = await player.get(stream.url(f"archive-{stream.start_s}-20.mpd"))
    assert (early.status_code, early.headers["retry-after"]) == (404, "1")
    for leaf in (f"archive-{stream.start_s}-0.mpd", f"archive-{stream.start_s}-999999.mpd"):
        assert (await player.get(stream.url(leaf))).status_code == 400
    assert (await player.get(stream.url(f"archive-{stream.start_s}-now.mpd"))).status_code in {401, 404}
    bare = stream.url("index.mpd").partition("?")[0]
    assert (await player.get(bare)).status_code == 401
    assert (await player.get(f"{bare}?token=x")).status_code == 403
