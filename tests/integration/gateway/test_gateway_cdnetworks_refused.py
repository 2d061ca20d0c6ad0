"""What CDNetworks' API refuses in a call or a task, field by field; one gateway answers all, as none changes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def customer(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Customer]:
    async with customer_of(nats, tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cmd": "4"}, "cmd: must be one of 1 (start), 2 (terminate), 3 (update), 5 (resume)"),
        ({"cmd": ""}, "cmd: must be one of"),
        ({"cmd": True}, "cmd: must be one of"),
        ({"cmd": None}, "cmd: must be one of"),
        ({"type": "audio"}, "type: must be 'video'"),
        ({"list": []}, "list: must have at least 1 entry"),
        ({"list": {}}, "list: must be a list"),
        ({"list": None}, "list: must be a list"),
        ({"list": [{"id": "1"}] * 65}, "list: must have at most 64 entries"),
        ({"transcallbackurl": "http://127.0.0.1/x"}, "transcallbackurl"),
    ],
)
async def test_bad_calls_name_the_field(customer: Customer, change: dict[str, Any], why: str) -> None:
    answer = await customer.send(a_start() | change)
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith(why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": ""}, "list[0].id: must not be empty: it names the task"),
        ({"id": " "}, "list[0].id: must not be empty"),
        ({"id": None}, "list[0].id: must not be empty"),
        ({"id": "x" * 257}, "list[0].id: must have at most 256 characters"),
        ({"src": [{"url": "http://e.com/" + "x" * 2048}]}, "list[0].src[0].url: must have at most 2048 characters"),
        ({"src": [{"url": "http://example.com/a.mp4"}] * 501}, "list[0].src: must have at most 500 entries"),
        ({"forward": [{"url": "rtmp://example.com/live/k"}] * 33}, "list[0].forward: must have at most 32 entries"),
        ({"src": []}, "list[0].src"),
        ({"src": [{"url": "ftp://example.com/a.mp4"}]}, "list[0].src[0].url"),
        ({"src": [{"url": "http://10.0.0.1/a.mp4"}]}, "list[0].src[0].url"),
        ({"src": [{"url": "http://e.com/a", "relofftime": "500-300"}]}, "list[0].src[0].relofftime"),
        ({"src": [{"url": "http://e.com/a", "relofftime": "1-2;x"}]}, "list[0].src[0].relofftime"),
        ({"src": [{"url": "http://e.com/a", "absofftime": "20181322153000-20181322155000"}]}, "list[0].src[0].abs"),
        ({"forward": []}, "list[0].forward"),
        ({"forward": [{"url": "http://e.com/live/x"}]}, "list[0].forward[0].url"),
        ({"forward": [{"url": "rtmp://e.com/live"}]}, "list[0].forward[0].url"),
        ({"extendParam": {"loop": "x"}}, "list[0].extendParam.loop"),
        ({"extendParam": {"index": "2"}}, "list[0].extendParam.index"),
        ({"extendParam": {"callBackFileInfo": "2"}}, "list[0].extendParam.callBackFileInfo"),
        ({"src": [{"url": "http://e.com/a", "wmimage": "ftp://e.com/a"}]}, "list[0].src[0].wmimage"),
        ({"src": [{"url": "http://e.com/a", "wmimage": "http://e.com/p", "wmposition": "TOP"}]}, "list[0].src[0].wmp"),
        ({"fops": {"bps": "1200"}}, "list[0].fops.vcodec"),
        ({"fops": {"vcodec": "libtheora"}}, "list[0].fops.vcodec"),
        ({"fops": {"vcodec": "libx264", "acodec": "libvorbis"}}, "list[0].fops.acodec"),
        ({"fops": {"vcodec": "libx264", "res": "1080x7680"}}, "list[0].fops.res"),
        ({"fops": {"vcodec": "libx264", "res": "1280x720", "fps": "640x360"}}, "list[0].fops.fps"),
        ({"fops": {"vcodec": "libx264", "fps": "1e99999999"}}, "list[0].fops.fps"),  # would take minutes to compute
        ({"fops": {"vcodec": "libx264", "fps": 1000}}, "list[0].fops.fps: must be from 1 to 240 frames per second"),
        ({"fops": {"vcodec": "libx264", "fps": "30/0"}}, "list[0].fops.fps: must be from 1 to 240"),
        ({"fops": {"vcodec": "libx264", "fps": True}}, "list[0].fops.fps: must be a string"),
        ({"fops": {"vcodec": "libx264", "res": "720p"}}, "list[0].fops.res: must be width x height, as 1280x720"),
        ({"fops": {"vcodec": "libx264", "res": "1281x720"}}, "list[0].fops.res: must have even sides"),
        ({"fops": {"vcodec": "libx264", "bps": "1.5M"}}, "list[0].fops.bps: must be a bit rate in kbit/s"),
        ({"extendParam": {"loop": True}}, "list[0].extendParam.loop: must be a whole number"),
        ({"extendParam": {"loop": -1}}, "list[0].extendParam.loop: must be at least 0"),
        ({"extendParam": {"callBackFileInfo": "yes"}}, "list[0].extendParam.callBackFileInfo: must be 0 or 1"),
        ({"start": "2018"}, "list[0].start: must be a UNIX time of 13 digits: milliseconds since 1970"),
        ({"start": "1540216800"}, "list[0].start: must be a UNIX time of 13 digits"),
        ({"end": "1540220400000"}, "list[0].end"),
    ],
)
async def test_bad_tasks_name_the_field(customer: Customer, change: dict[str, Any], why: str) -> None:
    answer = await customer.send(a_start("bad", **change))
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith(why), answer.json()
    assert await customer.command("bad") is None
