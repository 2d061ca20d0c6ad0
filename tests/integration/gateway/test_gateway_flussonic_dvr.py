"""The streamer API over HTTP: ranges, locks, deletion; and the old calls that panels still use."""

from typing import Any
from uuid import uuid4

import httpx

from services.gateway.delivery.tokens import make_token
from services.gateway.domain.locks import joined, without
from shared.broker.subjects import channel_of
from shared.messages.locks import Lock
from shared.messages.media import RecordingDelete
from tests.support.api_gateway import Gateway
from tests.support.recordings import Session, publish

API = "/streamer/api/v3/streams"
BACK_S = 3600


async def recorded(api: Gateway, *parts: tuple[int, int]) -> tuple[str, str, int]:
    """Make a stream with parts of a recording (s after its start, number of 2 s segments); its start, epoch s."""
    name = f"tv/{uuid4().hex[:8]}"
    made = (await api.http.put(f"{API}/{name}", json={})).json()
    start_s = api.clock.now_ms() // 1000 - BACK_S
    for at_s, count in parts:
        session = Session(made["reelay"]["job"], origin_ms=at_s * 1000, first_frame_ms=start_s * 1000)
        await publish(api.ingester.js(), session.segments(count, account="main"))
    return name, made["reelay"]["job"], start_s


async def answered(api: Gateway, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await api.http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_ranges_have_both_kinds_of_times(api: Gateway) -> None:
    name, _, start_s = await recorded(api, (0, 10), (100, 5), (110, 5))
    answer = await answered(api, "GET", f"{API}/{name}/dvr/ranges")
    assert answer["ranges"] == [
        {
            "opened_at": (start_s + at) * 1000, "closed_at": (start_s + at + 20) * 1000, "from": start_s + at,
            "duration": 20,
        }
        for at in (0, 100)
    ]  # fmt: skip
    assert (answer["estimated_count"], answer["timing"]) == (2, {})
    some = await answered(api, "GET", f"{API}/{name}/dvr/ranges?opened_at_gt={start_s * 1000}&limit=1")
    assert [one["from"] for one in some["ranges"]] == [start_s + 100]
    first = await answered(api, "GET", f"{API}/{name}/dvr/ranges?limit=1&sort=-from")
    assert [one["from"] for one in first["ranges"]] == [start_s + 100]
    rest = await answered(api, "GET", f"{API}/{name}/dvr/ranges?limit=1&sort=-from&cursor={first['next']}")
    assert [one["from"] for one in rest["ranges"]] == [start_s]


async def test_ranges_go_over_all_jobs_of_a_name(api: Gateway) -> None:
    name, first, start_s = await recorded(api, (0, 10))
    await answered(api, "POST", f"{API}/{name}/stop", status=204)
    second = (await answered(api, "PUT", f"{API}/{name}", {}))["reelay"]["job"]
    assert second != first
    session = Session(second, first_frame_ms=(start_s + 60) * 1000)
    await publish(api.ingester.js(), session.segments(3, account="main"))
    found = (await answered(api, "GET", f"{API}/{name}/dvr/ranges"))["ranges"]
    assert [(one["from"] - start_s, one["duration"]) for one in found] == [(0, 20), (60, 6)]


async def test_a_locked_range_is_not_deleted_by_hand(api: Gateway) -> None:
    name, job, start_s = await recorded(api, (0, 30))
    made = await answered(api, "POST", f"{API}/{name}/dvr/locks", {"from": start_s + 10, "duration": 10})
    item = {
        "opened_at": (start_s + 10) * 1000, "closed_at": (start_s + 20) * 1000, "from": start_s + 10, "duration": 10
    }  # fmt: skip
    assert made == item
    for _ in range(2):  # the same again changes nothing
        assert (await answered(api, "GET", f"{API}/{name}/dvr/locks"))["locks"] == [item]
        await answered(api, "POST", f"{API}/{name}/dvr/locks", item)
    touching = {"from": start_s + 19, "duration": 5}
    refused = await answered(api, "DELETE", f"{API}/{name}/dvr/ranges", touching, 409)
    assert refused["errors"][0]["code"] == "conflict"
    span = f"from={start_s * 1000}&to={(start_s + 30) * 1000}"
    assert (await api.http.delete(f"/v1/jobs/{job}/recording?{span}")).status_code == 409
    await answered(api, "POST", f"{API}/{name}/stop", status=204)
    assert (await api.http.delete(f"/v1/jobs/{job}")).status_code == 409
    await answered(api, "DELETE", f"{API}/{name}/dvr/locks", {"from": start_s + 15, "duration": 100}, 204)
    assert [one["duration"] for one in (await answered(api, "GET", f"{API}/{name}/dvr/locks"))["locks"]] == [5]
    await answered(api, "DELETE", f"{API}/{name}/dvr/ranges", touching, 204)
    message = await api.js().get_last_msg(channel_of(RecordingDelete).stream, f"{RecordingDelete.channel}.main.{job}")
    told = RecordingDelete.model_validate_json(message.data or b"")
    assert (told.from_ms, told.to_ms) == ((start_s + 19) * 1000, (start_s + 24) * 1000)
    await answered(api, "DELETE", f"{API}/{name}/dvr/locks", {"locks": [item]}, 204)
    assert (await api.http.delete(f"/v1/jobs/{job}")).status_code == 204


async def test_old_calls(api: Gateway) -> None:
    name, job, start_s = await recorded(api, (0, 10), (100, 5))
    body = {"stream": name, "from": start_s + 4, "duration": 4}
    await answered(api, "POST", "/flussonic/api/dvr/lock", body)
    status = await answered(api, "GET", f"/{name}/recording_status.json?from={start_s}&to=now&request=ranges,locks")
    assert status == [{
        "stream": name,
        "ranges": [{"duration": 20, "from": start_s}, {"duration": 10, "from": start_s + 100}],
        "locks": [{"duration": 4, "from": start_s + 4}],
    }]  # fmt: skip
    part = await answered(api, "GET", f"/{name}/recording_status.json?from={start_s + 10}&to={start_s + 104}")
    assert part == [{
        "stream": name, "ranges": [{"duration": 10, "from": start_s + 10}, {"duration": 4, "from": start_s + 100}]
    }]  # fmt: skip
    await answered(api, "POST", "/flussonic/api/dvr/unlock", body)
    assert (await answered(api, "GET", f"{API}/{name}/dvr/locks"))["locks"] == []
    token = make_token(api.parts.service.vault, "main", job, api.clock.now_ms() // 1000 + 60)
    async with httpx.AsyncClient(base_url=api.parts.public.base) as nobody:
        path = f"/{name}/recording_status.json"
        assert (await nobody.get(path)).status_code == 401
        assert (await nobody.get(path, params={"token": "x"})).status_code == 403
        assert (await nobody.get(path, params={"token": token[:-1] + "_"})).status_code == 403
        answer = await nobody.get(path, params={"token": token})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_what_is_wrong_is_named(api: Gateway) -> None:
    name, _, start_s = await recorded(api)
    now_s = start_s + BACK_S
    cases: list[tuple[str, str, Any, int, str]] = [
        ("POST", "locks", {}, 400, "/from"),
        ("POST", "locks", {"from": now_s}, 400, "/duration"),
        ("POST", "locks", {"from": now_s, "duration": 0}, 400, "/duration"),
        ("POST", "locks", {"from": now_s * 1000, "duration": 5}, 400, "/from"),
        ("POST", "locks", {"from": -1, "duration": 5}, 400, "/from"),
        ("POST", "locks", {"from": "x", "duration": 5}, 400, "/from"),
        ("POST", "locks", {"opened_at": now_s * 1000}, 400, "/closed_at"),
        ("POST", "locks", {"opened_at": 5, "closed_at": 5}, 400, "/closed_at"),
        ("POST", "locks", {"from": now_s, "duration": 49 * 3600}, 400, "/duration"),
        ("DELETE", "ranges", {"ranges": []}, 400, "/ranges"),
        ("DELETE", "ranges", {"ranges": 5}, 400, "/ranges"),
        ("DELETE", "ranges", {"from": now_s, "duration": 3600}, 409, ""),  # it is not over
    ]
    for method, what, body, status, field in cases:
        answer = await answered(api, method, f"{API}/{name}/dvr/{what}", body, status)
        assert answer["errors"][0].get("source", {}).get("pointer", "") == field, body
    for unknown in ("none", "0" * 32):
        await answered(api, "GET", f"{API}/{unknown}/dvr/ranges", status=404)
    await answered(api, "POST", "/flussonic/api/dvr/lock", {"stream": "none", "from": now_s, "duration": 1}, 404)
    await answered(api, "GET", f"/{name}/recording_status.json?from=x", status=400)
    await answered(api, "GET", f"/{name}/recording_status.json?from=5&to=5", status=400)


def test_locks_that_meet_become_one_and_are_cut_apart_again() -> None:
    def lock(start: int, end: int) -> Lock:
        return Lock(from_ms=start, to_ms=end)

    assert joined([lock(5, 9), lock(0, 2), lock(2, 4), lock(6, 7)]) == (lock(0, 4), lock(5, 9))
    assert without((lock(0, 4), lock(5, 9)), 3, 6) == (lock(0, 3), lock(6, 9))
    assert without((lock(0, 9),), 3, 6) == (lock(0, 3), lock(6, 9))
    assert without((lock(0, 9),), 0, 9) == ()
