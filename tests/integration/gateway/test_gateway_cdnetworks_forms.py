"""Forms in which values of the CDNetworks API may be written."""

import itertools
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import pytest

from shared.messages.restreams import FLICKS
from shared.security.webhooks import open_url
from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer


@pytest.fixture
async def customer(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Customer]:
    async with customer_of(nats, tmp_path) as made:
        yield made


async def test_what_is_given_as_numbers_or_lists_counts_the_same(customer: Customer) -> None:
    body = a_start("numbers", extendParam=[{"loop": 3, "index": 1, "callBackFileInfo": 1}])
    body["cmd"] = 1
    body["list"][0]["src"][0]["relofftime"] = "1.5-2.5;10-"
    end = customer.api.clock.now_ms() + 301_000
    body["list"][0] |= {"start": 1540216800000, "end": end}
    answer = await customer.send(body)
    assert answer.status_code == 200, answer.text
    command = await customer.command("numbers")
    assert command is not None
    assert command.spec is not None
    assert (command.spec.loops, command.spec.start_ms, command.spec.end_ms) == (3, 1540216800000, end)
    assert [(r.start, r.end) for r in command.spec.items[0].ranges] == [
        (FLICKS * 3 // 2, FLICKS * 5 // 2),
        (10 * FLICKS, None),
    ]


async def test_what_is_empty_is_absent(customer: Customer) -> None:
    """An empty list is how PHP writes an empty object."""
    empty = {"start": "", "end": "", "fops": [], "extendParam": {"loop": "", "index": "", "callBackFileInfo": ""}}
    for fields in (empty, {"extendParam": [], "fops": {}}, {"extendParam": None, "fops": None}):
        answer = await customer.send(a_start("empty", **fields))
        assert answer.status_code == 200, answer.text
        command = await customer.command("empty")
        assert command is not None
        assert command.spec is not None
        spec = command.spec
        assert (spec.loops, spec.first, spec.start_ms, spec.encoding) == (0, 0, None, None)


@pytest.mark.parametrize(
    "written", ["http://e.com/p?a=1&b=2", "http://e.com/p?a=1%26b=2", "http%3A%2F%2Fe.com%2Fp%3Fa%3D1%26b%3D2"]
)
async def test_a_picture_s_address_may_be_escaped(customer: Customer, written: str) -> None:
    """The page: "if there is & in url, then url character escaping is needed"."""
    await customer.send(a_start("mark", src=[{"url": "http://e.com/a.mp4?a=1%26b=2", "wmimage": written}]))
    command = await customer.command("mark")
    assert command is not None
    assert command.spec is not None
    item, vault = command.spec.items[0], customer.api.parts.service.vault
    assert open_url(vault, item.source.location) == "http://e.com/a.mp4?a=1%26b=2"
    assert item.watermark is not None
    assert open_url(vault, item.watermark.source.location) == "http://e.com/p?a=1&b=2"


# What is written for a frame rate, as a string or as a number of JSON, and the rate that it means.
RATES = [
    ("25", 25), (25, 25), (25.0, 25), ("25.00", 25), (" 25 ", 25), ("30/1", 30), ("50/2", 25), ("12.5", "25/2"),
    ("29.97", "30000/1001"), (29.97, "30000/1001"), ("29.970", "30000/1001"), (29.97002997, "30000/1001"),
    ("30000/1001", "30000/1001"), ("30000 / 1001", "30000/1001"), (23.976, "24000/1001"), ("23.98", "24000/1001"),
    ("23.976023976", "24000/1001"), (59.94, "60000/1001"), ("119.88", "120000/1001"), (29.5, "59/2"),
]  # fmt: skip


async def test_a_frame_rate_may_be_a_number_or_a_string(customer: Customer) -> None:
    for written, meant in RATES:
        answer = await customer.send(a_start("rate", fops={"vcodec": "libx264", "fps": written}))
        assert answer.status_code == 200, answer.text
        command = await customer.command("rate")
        assert command is not None
        assert command.spec is not None
        assert command.spec.encoding is not None
        assert Fraction(command.spec.encoding.rate_num or 0, command.spec.encoding.rate_den) == Fraction(meant)
        native = {"sources": [{"url": "https://e.com/a.mp4"}], "targets": [{"url": "rtmp://e.com/live/k"}]}
        made = await customer.api.http.post("/v1/restreams", json=native | {"encoding": {"frame_rate": written}})
        assert made.status_code == 201, made.text
        assert Fraction(made.json()["encoding"]["frame_rate"]) == Fraction(meant)


async def test_a_size_may_be_written_with_any_times_sign(customer: Customer) -> None:
    sizes = ["1280x720", "1280X720", "1280*720", "1280 x 720", " 1280x720 ", "1280\u00d7720"]
    for name, written in itertools.product(("res", "fps"), sizes):  # the page's own sample has them exchanged
        answer = await customer.send(a_start("size", fops={"vcodec": "libx264", name: written}))
        assert answer.status_code == 200, answer.text
        command = await customer.command("size")
        assert command is not None
        assert command.spec is not None
        assert command.spec.encoding is not None
        assert (command.spec.encoding.width, command.spec.encoding.height) == (1280, 720)


async def test_a_switch_may_be_written_in_any_way(customer: Customer) -> None:
    yes, no = [1, "1", " 1 ", 1.0, True, "true", "TRUE"], [0, "0", 0.0, False, "false", "", None]
    for written, meant in [(w, True) for w in yes] + [(w, False) for w in no]:
        extra = {"loop": " 2 ", "index": "1", "callBackFileInfo": written}
        whom = {"transcallbackurl": "http://example.com/", "cmd": " 1 ", "type": "Video"}
        answer = await customer.send(a_start("switch", extendParam=extra) | whom)
        assert answer.status_code == 200, answer.text
        command = await customer.command("switch")
        assert command is not None
        assert command.spec is not None
        said = await customer.repeated(command.spec.subscription)
        assert (said["files"], command.spec.loops) == (meant, 2)


async def test_any_text_or_number_may_be_an_id(customer: Customer) -> None:
    for ident in ("\u8d5b\u4e8b-1", "\U0001f3c0", "a b", "x" * 256, "a/b?c=%20", 12, 1.5):
        whom = {"transcallbackurl": "http://example.com/"}
        assert (await customer.send(a_start(ident) | whom)).status_code == 200
        command = await customer.command(str(ident))
        assert command is not None
        assert command.spec is not None
        said = await customer.repeated(command.spec.subscription)
        assert (command.spec.name, said["id"]) == (str(ident), str(ident))
        assert (await customer.send(a_start(ident) | {"cmd": "2"})).status_code == 200
        command = await customer.command(str(ident))
        assert command is not None
        assert command.verb == "stop"
