"""CDNetworks' API over HTTP: what each sample of its page does, and tasks."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.domain.restreams.parts import TARGET_PURPOSE, restream_id
from shared.broker.kv import Bucket
from shared.messages.restream_commands import Resume
from shared.messages.restreams import FLICKS, RestreamRecord
from shared.security.webhooks import open_url
from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer

SAMPLES = Path(__file__).parents[2] / "support" / "cdn_samples"
PUSH1, PUSH2, PUSH3 = (
    "rtmp://www.push1.com/live/test", "rtmp://www.push2.com/live/test2", "rtmp://www.push3.com/live/test3"
)  # fmt: skip


@pytest.fixture
async def customer(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Customer]:
    async with customer_of(nats, tmp_path) as made:
        yield made


def named(customer: Customer, url: str) -> str:
    """Give a target's id, which nobody without the installation's key can find by trying stream keys."""
    found = customer.api.parts.service.vault.fingerprint(url, TARGET_PURPOSE)
    assert found != hashlib.sha256(url.encode()).hexdigest()[:16]
    return found


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text()


# Each sample of the page as it stands, in the order of the page: status, then what became of it.
OUTCOMES = {
    "start": (200, "start"),
    "terminate": (200, "stop"),
    "timed_start": (400, "end must be more than 5 minutes later"),  # its times are of 2018
    "timed_terminate": (200, "stop"),
    "update": (200, "update"),
    "resume": (200, "resume"),
    "transcode": (200, "start"),
}


async def test_every_sample_of_the_page_is_taken_as_it_stands(customer: Customer) -> None:
    assert OUTCOMES.keys() == {path.stem for path in SAMPLES.glob("*.json")}
    for name, (status, outcome) in OUTCOMES.items():
        answer = await customer.send(sample(name))
        body = answer.json()
        assert (answer.status_code, body["http_code"]) == (status, str(status)), (name, body)
        assert body.keys() == {"http_code", "msg", "call_time"}
        assert abs(body["call_time"] - customer.api.clock.now_ms()) < 60_000
        if status == 200:
            assert body["msg"] == "receive task success!"
            command = await customer.command()
            assert command is not None
            assert command.verb == outcome
        else:
            assert outcome in body["msg"].replace("list[0].end: must", "end must")


async def test_a_start_says_all_that_its_sample_says(customer: Customer) -> None:
    await customer.send(sample("start"))
    command = await customer.command()
    assert command is not None
    spec = command.spec
    assert spec is not None
    vault = customer.api.parts.service.vault
    assert [open_url(vault, item.source.location) for item in spec.items] == [
        "http://www.video.com/live/abc.mp4",
        "http://www.video.com/live/1.flv",
        "http://www.video.com/live/2.mp4",
    ]
    assert [(r.clock, r.start, r.end) for r in spec.items[1].ranges] == [("wall", 1540222200000, 1540223400000)]
    assert [(r.clock, r.start, r.end) for r in spec.items[2].ranges] == [("file", 300 * FLICKS, 500 * FLICKS)]
    assert [t.target for t in spec.targets] == [named(customer, url) for url in (PUSH1, PUSH2)]
    assert (spec.loops, spec.first, spec.encoding) == (1, 0, None)
    said = await customer.repeated(spec.subscription)
    assert spec.subscription is not None
    assert (spec.subscription.form, open_url(vault, spec.subscription.url)) == (
        "cdnetworks",
        "http://www.callback.com/api",
    )
    assert json.loads(open_url(vault, said.pop("srcurl"))) == json.loads(sample("start"))["list"][0]["src"]
    assert said == {"id": "123", "cmd": "1", "files": False}
    text = command.model_dump_json()
    assert "live/test" not in text  # stream keys travel sealed
    assert "callback.com" not in text


async def test_resuming_and_transcoding_say_all_that_their_samples_say(customer: Customer) -> None:
    await customer.send(sample("resume"))
    command = await customer.command()
    assert command is not None
    assert isinstance(command.order, Resume)
    assert {old: new.target for old, new in command.order.reset.items()} == {
        named(customer, PUSH2): named(customer, PUSH3)
    }
    await customer.send(sample("transcode"))
    command = await customer.command()
    assert command is not None
    assert command.spec is not None
    encoding, mark = command.spec.encoding, command.spec.items[0].watermark
    assert encoding is not None
    # res and fps are exchanged in the sample, and a watermark means libx264, whatever vcodec says
    assert (encoding.video, encoding.audio, encoding.kbps) == ("libx264", "libmp3lame", 1200)
    assert (encoding.width, encoding.height, encoding.rate_num, encoding.rate_den) == (1280, 640, 25, 1)
    assert mark is not None
    assert mark.corner == "TOP_LEFT"
    assert command.spec.items[1].watermark is None


async def test_malformed_and_foreign_bodies_are_refused(customer: Customer) -> None:
    for body in (b"", b"{", b"[]", b'{"cmd": NaN}', b"\xff"):
        answer = await customer.send(body)
        assert answer.status_code == 400, body
        assert answer.json()["http_code"] == "400"


async def test_a_termination_says_whom_to_tell_and_takes_no_times(customer: Customer) -> None:
    await customer.send(a_start("over"))
    answer = await customer.send(a_start("over", start="1540216800000") | {"cmd": "2"})
    assert (answer.status_code, answer.json()["msg"][:13]) == (400, "list[0].start")
    told = {"cmd": "2", "transcallbackurl": "http://www.callback.com/over"}
    assert (await customer.send(a_start("over") | told)).status_code == 200
    command = await customer.command("over")
    assert command is not None
    assert command.subscription is not None
    vault = customer.api.parts.service.vault
    assert open_url(vault, command.subscription.url) == "http://www.callback.com/over"
    assert (await customer.repeated(command.subscription))["cmd"] == "2"


async def test_updates_and_resumes_may_move_the_clock(customer: Customer) -> None:
    now = customer.api.clock.now_ms()
    await customer.send(a_start("clock"))
    for cmd in ("3", "5"):
        late = a_start("clock", start=str(now + 60_000), end=str(now + 300_000)) | {"cmd": cmd}
        assert "5 minutes" in (await customer.send(late)).json()["msg"]
        late["list"][0]["end"] = str(now + 400_000)
        assert (await customer.send(late)).status_code == 200
        command = await customer.command("clock")
        assert command is not None
        assert command.playlist is not None
        assert (command.playlist.start_ms, command.playlist.end_ms) == (now + 60_000, now + 400_000)


async def test_a_list_that_is_too_long_says_so(customer: Customer) -> None:
    src = [{"url": "http://example.com/" + "a" * 1500}] * 400
    for whom in ({"transcallbackurl": "http://example.com/"}, {}):
        answer = await customer.send(a_start("long", src=src) | whom)
        assert (answer.status_code, answer.json()["http_code"]) == (413, "413")
    assert await customer.command("long") is None


async def test_the_five_minutes_are_counted_from_the_later_of_start_and_now(customer: Customer) -> None:
    now = customer.api.clock.now_ms()
    late = {"start": str(now + 600_000), "end": str(now + 899_000)}
    assert (await customer.send(a_start("late", **late))).status_code == 400
    late["end"] = str(now + 901_000)
    assert (await customer.send(a_start("late", **late))).status_code == 200


async def test_an_unknown_task_cannot_be_ended_or_updated(customer: Customer) -> None:
    for cmd in ("2", "3"):
        answer = await customer.send(a_start("nothing") | {"cmd": cmd})
        assert answer.status_code == 400
        assert answer.json()["msg"] == "list[0].id: there is no such task"
    resume = a_start("nothing", fops={"vcodec": "libx264"}) | {"cmd": "5"}
    assert "takes no fops" in (await customer.send(resume)).json()["msg"]
    resume = a_start("nothing", extendParam={"loop": "1"}) | {"cmd": "5"}
    assert "takes resetUrl alone" in (await customer.send(resume)).json()["msg"]


async def test_one_bad_task_of_several_starts_none(customer: Customer) -> None:
    body = a_start("good")
    body["list"].append(a_start("worse", forward=[{"url": "rtmp://192.168.0.1/live/x"}])["list"][0])
    answer = await customer.send(body)
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith("list[1].forward[0].url")
    assert await customer.command("good") is None


@pytest.mark.parametrize(("cmd", "verb"), [("2", "stop"), ("3", "update")])
async def test_each_known_task_is_obeyed_and_the_unknown_ones_are_named(
    customer: Customer, cmd: str, verb: str
) -> None:
    for ident in ("one", "two"):
        await customer.send(a_start(ident))
    tasks = [a_start(ident)["list"][0] for ident in ("gone", "one", "never", "two")]
    answer = await customer.send({"cmd": cmd, "type": "video", "list": tasks})
    assert (answer.status_code, answer.json()["http_code"]) == (200, "200")
    assert answer.json()["msg"] == (
        "receive task success! But list[0].id: there is no such task: gone; "
        "list[2].id: there is no such task: never"
    )  # fmt: skip
    for ident in ("one", "two"):
        command = await customer.command(ident)
        assert command is not None
        assert command.verb == verb
    answer = await customer.send({"cmd": cmd, "type": "video", "list": [tasks[0], tasks[2]]})
    assert (answer.status_code, answer.json()["http_code"]) == (400, "400")
    assert "gone" in answer.json()["msg"]
    assert "never" in answer.json()["msg"]


async def test_the_same_id_twice_in_one_call_is_two_calls_in_their_order(customer: Customer) -> None:
    body = a_start("twice")
    body["list"] += a_start("twice", src=[{"url": "http://example.com/b.mp4"}])["list"]
    assert (await customer.send(body)).status_code == 200
    command = await customer.command("twice")
    assert command is not None
    assert command.spec is not None
    assert command.spec.items[0].source.shown == "http://example.com/b.mp4"


async def test_tasks_that_nobody_has_taken_up_yet_are_listed_and_found(customer: Customer) -> None:
    names = [f"t{number}" for number in range(25)]
    for name in names:
        assert (await customer.send(a_start(name))).status_code == 200
    api, token, seen = customer.api, "", []
    while True:
        query = {"page_size": "10", "sort_dir": "asc"} | ({"start_token": token} if token else {})
        page = (await api.http.get("/v1/restreams", params=query)).json()
        seen += [(r["name"], r["state"]) for r in page["restreams"]]
        token = page["next_token"]
        if not token:
            break
    assert [name for name, _ in seen] == names, "in the order in which they were asked for, none twice"
    assert {state for _, state in seen} == {"starting"}
    found = (await api.http.get(f"/v1/restreams/{restream_id('main', 't7')}")).json()
    assert (found["name"], found["state"], found["targets"][0]["state"]) == ("t7", "starting", "waiting")


async def test_a_task_that_is_started_again_is_shown_as_it_will_be(customer: Customer) -> None:
    await customer.send(a_start("again"))
    command, api = await customer.command("again"), customer.api
    assert command is not None
    assert command.spec is not None
    over = RestreamRecord(
        account="main", restream=command.restream, spec=command.spec, state="ended", created_ms=command.at_ms,
        changed_ms=command.at_ms, finished_ms=command.at_ms, commands=(command.command,),
    )  # fmt: skip
    await Bucket(api.js, "restreams", RestreamRecord).create(f"main.{command.restream}", over)
    path = f"/v1/restreams/{command.restream}"
    assert (await api.http.get(path)).json()["state"] == "ended", "the start was applied, though it still lies there"
    api.clock.ahead_ms = 1000
    await customer.send(a_start("again", src=[{"url": "http://example.com/b.mp4"}]))
    for shown in ((await api.http.get(path)).json(), (await api.http.get("/v1/restreams")).json()["restreams"][0]):
        assert (shown["state"], shown["run"], shown["finished_at"]) == ("starting", 2, None)
        assert shown["sources"] == ["http://example.com/b.mp4"]
        assert shown["created_at"] == command.at_ms
