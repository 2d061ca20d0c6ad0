"""Kaltura's own client library against a gateway: entries, media servers, sessions, several calls in one."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import kaltura_client as peer
from tests.support.api_gateway import Gateway, gateway
from tests.support.kaltura_client import in_thread
from tests.support.nats import NatsServer

pytestmark = pytest.mark.skipif(bool(peer.MISSING), reason=peer.MISSING)
HOST = "media-1.example.com"


class Platform:
    """The library with a partner's administrator's session of its own making."""

    def __init__(self, api: Gateway, number: int, secret: str) -> None:
        self.api, self.number, self.secret = api, number, secret
        self.lib = peer.library(api.parts.public.base)
        self.lib.setPartnerId(number)
        self.lib.setKs(self.lib.generateSessionV2(secret, "producer", 2, number, 600, "disableentitlement"))

    async def fails(self, work: Any, *args: Any) -> str:
        with pytest.raises(peer.vendor().exceptions.KalturaException) as error:
            await in_thread(work, *args)
        return str(error.value.code)

    async def entry(self, **fields: Any) -> Any:
        return await in_thread(self.lib.liveStream.add, peer.core().KalturaLiveStreamEntry(**fields), "32")


@pytest.fixture(scope="module")
def loaded() -> None:
    """Load the library's plugins once: it takes seconds."""
    peer.library("http://127.0.0.1:1")


@pytest.fixture
async def platform(nats: NatsServer, tmp_path: Path, loaded: None) -> AsyncIterator[Platform]:
    async with gateway(nats, tmp_path) as api:
        number, secret = await peer.partner(api, account=f"club-{uuid.uuid4().hex[:8]}")
        yield Platform(api, number, secret)


async def test_an_entry_is_made_found_changed_and_deleted(platform: Platform) -> None:
    live, core = platform.lib.liveStream, peer.core()
    made = await platform.entry(
        name="Match é <1>", dvrStatus=core.KalturaDVRStatus.ENABLED, dvrWindow=90, recordStatus=1
    )
    assert made.id[:2] == "0_"
    assert (made.name, made.partnerId, made.dvrWindow, made.dvrStatus.value) == ("Match é <1>", platform.number, 90, 1)
    assert made.streamName == f"{made.id}_%i"
    assert len(made.streamPassword) == 8
    assert f"?p={platform.number}&e={made.id}&i=0&t={made.streamPassword}" in made.primaryBroadcastingUrl
    (job,) = (await platform.api.http.get("/v1/jobs", headers=await account_of(platform))).json()["jobs"]
    assert (job["name"], job["live_dvr_sliding_window_duration"], job["state"]) == ("Match é <1>", 5400, "standby")
    changed = await in_thread(live.update, made.id, core.KalturaLiveStreamEntry(name="Other", dvrWindow=30))
    assert (changed.name, changed.dvrWindow, changed.recordStatus.value) == ("Other", 30, 1)
    token = (await in_thread(live.regenerateStreamToken, made.id)).streamPassword
    assert token != made.streamPassword
    assert await platform.fails(live.authenticate, made.id, made.streamPassword) == "LIVE_STREAM_INVALID_TOKEN"
    assert (await in_thread(live.authenticate, made.id, token)).id == made.id
    second = await platform.entry(name="Second")
    listed = await in_thread(live.list, core.KalturaLiveStreamEntryFilter(), core.KalturaFilterPager(pageSize=1))
    assert (listed.totalCount, len(listed.objects)) == (2, 1)
    found = await in_thread(live.list, core.KalturaLiveStreamEntryFilter(idIn=f"{second.id},0_nobody00"))
    assert [one.name for one in found.objects] == ["Second"]
    await in_thread(live.delete, made.id)
    assert await platform.fails(live.get, made.id) == "ENTRY_ID_NOT_FOUND"
    assert await platform.fails(live.isLive, made.id, "hls") == "INVALID_ENTRY_ID"


async def test_a_media_server_reports_authenticates_registers_and_leaves(platform: Platform) -> None:
    live, core = platform.lib.liveStream, peer.core()
    entry = await platform.entry(name="Match", dvrStatus=core.KalturaDVRStatus.ENABLED)
    index = core.KalturaEntryServerNodeType.LIVE_PRIMARY
    call = (entry.id, entry.streamPassword, HOST, index, "kLive")
    assert await platform.fails(live.authenticate, *call) == "MEDIA_SERVER_NOT_FOUND"
    assert await platform.fails(platform.lib.serverNode.reportStatus, HOST) == "SERVER_NODE_NOT_FOUND"
    node = core.KalturaMediaServerNode(name="m1", systemName="m1", hostName=HOST, applicationName="kLive")
    reported = await in_thread(platform.lib.serverNode.reportStatus, HOST, node)
    assert (reported.hostName, reported.applicationName) == (HOST, "kLive")
    assert (await in_thread(live.authenticate, *call)).dvrWindow == 120
    assert await in_thread(live.isLive, entry.id, "hls") is False
    assert (await in_thread(live.getDetails, entry.id)).primaryStreamStatus.value == 3
    for _ in range(2):
        registered = await in_thread(live.registerMediaServer, entry.id, HOST, index, "kLive", 1)
        assert registered.liveStatus.value == 1
    assert await in_thread(live.isLive, entry.id, "hls") is True
    locked = core.KalturaLiveStreamEntry(dvrWindow=30)
    assert await platform.fails(live.update, entry.id, locked) == "CANNOT_UPDATE_FIELDS_WHILE_ENTRY_BROADCASTING"
    assert (await in_thread(live.update, entry.id, core.KalturaLiveStreamEntry(name="N", dvrWindow=120))).name == "N"
    nodes = await in_thread(platform.lib.entryServerNode.list, core.KalturaEntryServerNodeFilter(entryIdEqual=entry.id))
    assert [(one.entryId, one.status.value, one.serverNodeId) for one in nodes.objects] == [(entry.id, 1, reported.id)]
    platform.api.clock.ahead_ms += 119_000
    assert await in_thread(live.isLive, entry.id, "hls") is True
    platform.api.clock.ahead_ms += 2_000
    assert await in_thread(live.isLive, entry.id, "hls") is False
    await in_thread(live.registerMediaServer, entry.id, HOST, index, "kLive", 1)
    assert await platform.fails(live.unregisterMediaServer, entry.id, "other", index) == "MEDIA_SERVER_NOT_FOUND"
    assert await in_thread(live.isLive, entry.id, "hls") is True
    assert (await in_thread(live.unregisterMediaServer, entry.id, HOST, index)).liveStatus.value == 0
    assert await in_thread(live.isLive, entry.id, "hls") is False


async def test_several_calls_in_one_name_each_others_results(platform: Platform) -> None:
    lib, core = platform.lib, peer.core()
    node = core.KalturaMediaServerNode(hostName=HOST)
    lib.startMultiRequest()
    lib.serverNode.reportStatus(HOST, node)
    made = lib.liveStream.add(core.KalturaLiveStreamEntry(name="Match"), "32")
    lib.liveStream.authenticate(made.id, made.streamPassword, HOST, "0")
    lib.liveStream.authenticate(made.id, "wrong")
    lib.liveStream.registerMediaServer(made.id, HOST, "0")
    lib.liveStream.isLive(made.id)
    lib.liveStream.unregisterMediaServer(made.id, HOST, "0")
    lib.liveStream.isLive(made.id)
    results = await in_thread(lib.doMultiRequest)
    assert len({one.id for one in (results[1], results[2], results[4], results[6])}) == 1
    assert results[3].code == "LIVE_STREAM_INVALID_TOKEN"
    assert (results[5], results[7]) == ("1", "0")


async def test_sessions_of_both_forms_are_taken_started_and_ended(platform: Platform) -> None:
    lib, live = platform.lib, platform.lib.liveStream
    lib.setKs(lib.generateSession(platform.secret, "producer", 2, platform.number, 600, "a,b:c"))
    assert (await in_thread(lib.session.get)).privileges == "a,b:c"
    assert await platform.fails(lib.session.start, "wrong", "u", 2, platform.number) == "START_SESSION_ERROR"
    started = await in_thread(lib.session.start, platform.secret, "u", 2, platform.number, 60)
    lib.setKs(started)
    entry = await platform.entry(name="x")
    await in_thread(lib.session.end)
    assert await platform.fails(live.get, entry.id) == "INVALID_KS"
    lib.setKs(lib.generateSessionV2(platform.secret, "u", 2, platform.number, -1))
    assert await platform.fails(live.get, entry.id) == "INVALID_KS"
    lib.setKs(None)
    assert await platform.fails(live.get, entry.id) == "MISSING_KS"


async def account_of(platform: Platform) -> dict[str, str]:
    record = await platform.api.parts.partners.find(platform.number)
    assert record is not None
    return {"X-Reelay-Account": record.account}
