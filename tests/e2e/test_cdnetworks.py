"""A customer of the CDNetworks API: unlike files looping to two targets, changed, ended and resumed while they play."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from services.gateway.domain.restreams.parts import restream_id
from services.gateway.identity.cdn_accounts import signature
from tests.support.framecode_record import Spec, encode
from tests.support.restream_receiver import in_order, receiver
from tests.support.source_server import source_server
from tests.support.stack import StackUnderTest, until

FILES = {
    "a.mp4": Spec(seconds=Fraction(4)),
    "b.flv": Spec(seconds=Fraction(3), rate=Fraction(25), bframes=0, gop=25, first_number=200),
    "c.mp4": Spec(seconds=Fraction(3), codec="hevc", audio=None, first_number=400),
    "d.mp4": Spec(seconds=Fraction(9), first_number=600),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted."""

    posted: list[dict[str, Any]]

    def do_POST(self) -> None:
        """Take a callback; the first try of each gets an empty answer, which does not count."""
        body = self.rfile.read(int(self.headers["content-length"]))
        again = any(body == json.dumps(old).encode() for old in self.posted)
        self.posted.append(json.loads(body))
        answer = b"ok" if again or len(self.posted) > 1 else b""
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def callback_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Take callbacks, and give what was posted."""
    posted: list[dict[str, Any]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"posted": posted}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", posted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Customer:
    """Sends signed calls about one task."""

    def __init__(self, live: StackUnderTest, callback: str) -> None:
        made = live.post("/v1/cdn-accounts", {"account": "league"})
        self.live, self.callback, self._account, self._random = live, callback, made, count(1_409_284_800)
        self.restream = restream_id("main", "the channel")

    def call(self, cmd: str, forward: list[str], **task: Any) -> None:
        """Call and expect to be obeyed."""
        random = str(next(self._random))
        query = {"n": self._account["n"], "r": random, "k": signature(random, self._account["key"])}
        whole = {"id": "the channel", "forward": [{"url": url} for url in forward], **task}
        body = {"cmd": cmd, "type": "video", "transcallbackurl": self.callback, "list": [whole]}
        answer = self.live.api.post("/api/cdn/v2/forwardRequest.action", params=query, json=body)
        assert answer.json()["http_code"] == "200", answer.text

    def state(self) -> dict[str, Any]:
        """Read the restream as the native API shows it."""
        return self.live.get(f"/v1/restreams/{self.restream}")


def files_of(numbers: list[int]) -> list[str]:
    """Name the files that pictures are of, in order."""
    names = [max((n for n in FILES if FILES[n].first_number <= number), key=lambda n: FILES[n].first_number)
             for number in numbers]  # fmt: skip
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def test_a_channel_of_unlike_files_through_its_whole_life(live: StackUnderTest, tmp_path: Path) -> None:
    for name, spec in FILES.items():
        encode(spec, tmp_path / name)
    with source_server() as files, callback_server() as (address, posted), receiver() as peer:
        at = {name: files.put(f"/{name}", (tmp_path / name).read_bytes()) for name in FILES}
        one, two = peer.url("one"), peer.url("two")
        customer = Customer(live, f"{address}/callback")
        src = [{"url": at[name]} for name in ("a.mp4", "b.flv", "c.mp4")]
        customer.call("1", [one, two], src=src, extendParam={"index": "2", "callBackFileInfo": "1"})
        peer.wait_pictures("two", 30)
        customer.call("2", [two])  # one of two targets
        until(lambda: len(customer.state()["targets"]) == 1, "a target to be ended")
        peer.wait_pictures("one", 75 + 75 + 120 + 75 + 30)  # b, c, a, b, and some of c
        customer.call("5", [one, two], src=src)
        peer.wait_pictures("two", 15, 1)
        update = [{"url": at["d.mp4"], "relofftime": "1-9"}]
        before = peer.pictures("one")
        customer.call("3", [one, two], src=update, extendParam={"waitCrtUrlFinish": "0"})
        until(lambda: customer.state()["position"]["file"].endswith("d.mp4"), "the new list")
        peer.wait_pictures("one", before + 60)
        customer.call("2", [one, two])
        until(lambda: customer.state()["state"] == "stopped", "the task to end")
        customer.call("5", [one, two], src=update)
        peer.wait_pictures("one", 30, 1)
        customer.call("2", [one, two])
        until(lambda: customer.state()["state"] == "stopped", "the task to end")
        until(lambda: [b for b in posted if b["cmd"] == "2" and "terminated" in b["msg"]], "the last callback")
        first, resumed = (peer.numbers("one", n, tmp_path) for n in (0, 1))
        look_at_pictures(first, resumed)
        look_at_callbacks(posted, one, two, src)


def look_at_pictures(first: list[int], resumed: list[int]) -> None:
    """Every picture of every file in order; after the resume the next one."""
    assert files_of(first)[:5] == ["b.flv", "c.mp4", "a.mp4", "b.flv", "c.mp4"]
    assert files_of(first)[-1] == "d.mp4"
    played = [number for number in first if number < 600]
    assert played[:75] == list(range(200, 275))
    made_alike = played[75:150]  # in the rate of the stream's first file: 75 of 90 pictures
    assert all(0 < after - before <= 2 for before, after in pairwise(made_alike))
    assert (made_alike[0], made_alike[-1] >= 488) == (400, True)
    assert played[150:345] == [*range(120), *range(200, 275)]
    cut = [number for number in first if number >= 600]
    whole = len(cut) - 3  # at the end a picture may have come whose B-frames had not
    assert cut[:whole] == list(range(630, 630 + whole))
    print(f"stopped at {cut[-1]}, resumed at {resumed[0]}")
    assert abs(resumed[0] - cut[whole - 1] - 1) <= 6, "what was on its way to the receiver may be missing or twice"
    assert in_order(resumed)


def look_at_callbacks(posted: list[dict[str, Any]], one: str, two: str, src: list[dict[str, str]]) -> None:
    """Everything was told in the page's form; the call that was answered with nothing came again."""
    assert posted[0] == posted[1]
    started = [body for body in posted if body["msg"] == "Start pushing!"]
    assert {body["forwardurl"] for body in started} == {one, two}
    assert all((b["code"], b["id"]) == ("0", "the channel") for b in started)
    assert json.loads(started[0]["srcurl"]) == src
    files = [body["file"]["url"].rpartition("/")[2] for body in posted[1:] if "file" in body]
    assert files[:4] == ["b.flv", "c.mp4", "a.mp4", "b.flv"]
    hows = {body["file"]["url"].rpartition("/")[2]: body["file"]["how"] for body in posted if "file" in body}
    assert hows["b.flv"] == "copied"
    assert hows["c.mp4"] == "conformed"
