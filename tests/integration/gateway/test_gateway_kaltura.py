"""The Kaltura API over HTTP as other clients write it, and what its library's test does not call."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from services.gateway.facades.kaltura import ks
from services.gateway.facades.kaltura.registrations import MOST_INPUTS
from tests.support.api_gateway import Gateway, gateway
from tests.support.kaltura_client import Peer, partner
from tests.support.nats import NatsServer

NODE = {
    "objectType": "KalturaWowzaMediaServerNode", "hostName": "m1",
    "mediaServerPortConfig": {"item1": {"key": "a", "value": "1"}},
}  # fmt: skip


@dataclass
class Scene:
    api: Gateway
    number: int
    secret: str
    peer: Peer

    def session(self, number: int = 0, secret: str = "") -> str:
        session = ks.Session(number or self.number, ks.ADMIN, self.api.clock.now_ms() // 1000 + 900)
        return ks.make(session, secret or self.secret, secrets.token_bytes(16))

    async def raw(self, path: str, method: str = "POST", **more: object) -> httpx.Response:
        answer = await self.api.http.request(method, f"/api_v3{path}", **more)  # type: ignore[arg-type]
        assert answer.status_code == 200
        return answer

    async def entry(self, **fields: object) -> str:
        made = await self.peer("liveStream.add", liveStreamEntry={"name": "x", **fields}, sourceType="32")
        return str(made["id"])


@pytest.fixture
async def scene(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    async with gateway(nats, tmp_path) as api:
        number, secret = await partner(api, account=f"c-{uuid.uuid4().hex[:8]}")
        made = Scene(api, number, secret, Peer(api.http))
        made.peer.ks = made.session()
        yield made


async def test_clients_of_other_kinds_are_answered(scene: Scene) -> None:
    form = {
        "ks": scene.peer.ks, "liveStreamEntry:objectType": "KalturaLiveStreamEntry", "liveStreamEntry:name": "Fôrm",
        "liveStreamEntry:dvrStatus": "1", "liveStreamEntry:recordingOptions:shouldMakeHidden": "true",
        "liveStreamEntry:description__null": "",
    }  # fmt: skip
    answer = await scene.raw("/index.php?service=liveStream&action=add", data=form)
    assert answer.headers["content-type"].startswith("text/xml")
    assert answer.headers["access-control-allow-origin"] == "*"
    root = ET.fromstring(answer.content)
    entry = str(root.findtext("result/id"))
    assert (root.findtext("result/name"), root.findtext("result/objectType")) == ("Fôrm", "KalturaLiveStreamEntry")
    assert float(str(root.findtext("executionTime"))) >= 0
    live = await scene.raw(f"/service/livestream/action/ISLIVE/id/{entry}/protocol/hls", "GET")
    assert ET.fromstring(live.content).findtext("result") == "0"
    assert (await scene.raw(f"/service/livestream/action/islive?id={entry}&format=1", "GET")).json() is False
    parts = {"json": (None, json.dumps({"ks": scene.peer.ks, "entryId": entry, "format": "1"})), "f": ("a.bin", b"\0")}
    assert (await scene.raw("/service/livestream/action/get", files=parts)).json()["id"] == entry
    preflight = await scene.api.http.options("/api_v3/service/livestream/action/islive")
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    for form_, code in (("3", "UNSUPPORTED_FORMAT"), ("9", "UNSUPPORTED_FORMAT"), ("x", "UNSUPPORTED_FORMAT")):
        answer = await scene.raw(f"/service/livestream/action/islive?id={entry}&format={form_}&callback=f", "GET")
        assert ET.fromstring(answer.content).findtext("result/error/code") == code


async def test_what_is_not_there_says_so(scene: Scene) -> None:
    codes = [
        ("uploadToken.add", "SERVICE_DOES_NOT_EXISTS"), ("liveStream.appendRecording", "ACTION_DOES_NOT_EXISTS"),
        ("liveStream.get", "MISSING_MANDATORY_PARAMETER"), ("liveStream.add", "MISSING_MANDATORY_PARAMETER"),
    ]  # fmt: skip
    for name, code in codes:
        assert await scene.peer(name) == code
    add = "liveStream.add"
    for fields, code in [
        ({"dvrWindow": "1441"}, "PROPERTY_VALIDATION_MAX_VALUE"), ({"dvrWindow": "0"}, "PROPERTY_VALIDATION_MIN_VALUE"),
        ({"dvrWindow": "x"}, "PROPERTY_VALIDATION_NUMERIC_VALUE"), ({"recordStatus": "7"}, "INVALID_ENUM_VALUE"),
        ({"name": "n" * 513}, "PROPERTY_VALIDATION_MAX_LENGTH"), ({"id": "0_x"}, "PROPERTY_VALIDATION_NOT_UPDATABLE"),
        ({"description": "é" * 5000, "partnerData": "é" * 5000}, "PROPERTY_VALIDATION_MAX_LENGTH"),
    ]:  # fmt: skip
        assert await scene.peer(add, liveStreamEntry=fields) == code, fields
    assert await scene.peer(add, liveStreamEntry={"name": "x"}, sourceType="29") == "INVALID_ENUM_VALUE"
    assert await scene.peer("liveStream.list", filter={"tagsLike": "x"}) == "PROPERTY_IS_NOT_DEFINED"
    assert (await scene.raw("/", json={"format": 1})).json()["code"] == "SERVICE_NOT_SPECIFIED"
    assert (await scene.raw("/service/livestream?format=1", json={})).json()["code"] == "ACTION_NOT_SPECIFIED"
    answer = await scene.raw(
        "/service/livestream/action/get", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert ET.fromstring(answer.content).findtext("result/error/code") == "INVALID_PARAMETERS"


async def test_a_multirequest_starts_its_own_session(scene: Scene) -> None:
    form = {
        "format": "1", "1:service": "session", "1:action": "start", "1:secret": scene.secret, "1:type": "2",
        "1:partnerId": str(scene.number), "2:service": "liveStream", "2:action": "add", "2:ks": "{1:result}",
        "2:liveStreamEntry:name": "multi", "3:service": "liveStream", "3:action": "list", "3:ks": "{1:result}",
        "3:filter:idIn": "{2:result:id}", "4:service": "liveStream", "4:action": "get",
        "4:entryId": "{3:result:objects:0:id}", "5:service": "liveStream", "5:action": "get", "5:ks": "{1:result}",
        "5:entryId": "{4:result:id}",
    }  # fmt: skip
    answers = (await scene.raw("/service/multirequest", data=form)).json()
    assert answers[1]["id"] == answers[2]["objects"][0]["id"]
    assert [one.get("code") for one in answers[3:]] == ["MISSING_KS", "INVALID_MULTIREQUEST_TOKEN"]


async def test_profiles_and_flavors_say_passthrough(scene: Scene) -> None:
    peer, entry = scene.peer, await scene.entry(conversionProfileId="77")
    made = await peer("liveStream.get", entryId=entry)
    assert (made["conversionProfileId"], made["flavorParamsIds"]) == (77, "32")
    assert "passthrough" in made["notes"]
    assert (await peer("conversionProfile.get", id="77"))["flavorParamsIds"] == "32"
    listed = await peer("conversionProfileAssetParams.list", filter={"conversionProfileIdEqual": "77"})
    assert [(one["assetParamsId"], one["origin"]) for one in listed["objects"]] == [(32, 1)]
    (flavor,) = await peer("flavorParams.getByConversionProfileId", conversionProfileId="77")
    assert (flavor["id"], flavor["streamSuffix"]) == (32, "1")
    assert (await peer("flavorParams.list", filter={"idIn": "31,32"}))["totalCount"] == 1
    (asset,) = (await peer("flavorAsset.list", filter={"entryIdEqual": entry}))["objects"]
    assert (asset["flavorParamsId"], asset["objectType"]) == (32, "KalturaLiveAsset")
    assert (await peer("permission.get", permissionName="FEATURE_LIVE_STREAM_KALTURA_RECORDING"))["status"] == 2
    assert await peer("permission.get", permissionName="OTHER") == "PERMISSION_NOT_FOUND"
    for service in ("wowza_liveConversionProfile", "wowza_liveStreamConversionProfile"):
        root = await Peer(scene.api.http)(f"{service}.serve", streamName=f"{entry}_1", hostname="m", extraParams="{}")
        encode = root.find("Transcode/Encodes/Encode")
        assert (root.tag, encode.findtext("StreamName")) == ("Root", f"mp4:{entry}_32")
        assert encode.findtext("Video/Codec") == encode.findtext("Audio/Codec") == "PassThru"
    for name, code in [
        ("x", "INVALID_STREAM_NAME"),
        (f"{entry}_2", "INGEST_NOT_FOUND_IN_CONVERSION_PROFILE"),
        ("0_aaaaaaaa_1", "ENTRY_ID_NOT_FOUND"),
    ]:
        assert await peer("wowza_liveConversionProfile.serve", streamName=name) == code


async def test_servers_and_their_entries_are_listed_and_limited(scene: Scene) -> None:
    peer = scene.peer
    node = await peer("serverNode.reportStatus", hostName="m1", serverNode=NODE)
    assert node["mediaServerPortConfig"] == [{"objectType": "KalturaKeyValue", "key": "a", "value": "1"}]
    assert (await peer("mediaServer.reportStatus", hostname="m2", mediaServerStatus={"cpu": "1"}))["hostname"] == "m2"
    assert [n["hostName"] for n in (await peer("serverNode.list", filter={"hostNameLike": "M1"}))["objects"]] == ["m1"]
    assert (await peer("mediaServer.get", hostname="M1"))["id"] == node["id"]
    entries = [await scene.entry() for _ in range(MOST_INPUTS + 1)]
    for entry in entries[:-1]:
        answer = await peer("liveStream.registerMediaServer", entryId=entry, hostname="m1", mediaServerIndex="0")
        assert answer["liveStatus"] == 1
    last = {"entryId": entries[-1], "hostname": "m2", "mediaServerIndex": "1"}
    assert await peer("liveStream.registerMediaServer", **last) == "LIVE_STREAM_EXCEEDED_MAX_PASSTHRU"
    found = await peer(
        "liveStream.list", filter={"isLive": "1", "hasMediaServerHostname": "m1"}, pager={"pageSize": "300"}
    )
    assert {one["id"] for one in found["objects"]} == set(entries[:-1])
    await peer("liveStream.unregisterMediaServer", entryId=entries[0], hostname="m1", mediaServerIndex="0")
    await peer("liveStream.registerMediaServer", **last, liveEntryStatus="2")
    assert await peer("liveStream.isLive", id=entries[-1]) is False
    (one,) = (await peer("entryServerNode.list", filter={"entryIdEqual": entries[-1]}))["objects"]
    assert (one["status"], one["serverType"]) == (2, "1")
    assert (await peer("entryServerNode.updateStatus", id=one["id"], status="1"))["status"] == 1
    assert (await peer("entryServerNode.get", id=one["id"]))["status"] == 1
    assert await peer("liveStream.isLive", id=entries[-1]) is True
    assert (await peer("liveStream.getDetails", id=entries[-1]))["secondaryStreamStatus"] == 1
    scene.api.clock.ahead_ms += 121_000
    assert await peer("liveStream.validateRegisteredMediaServers", entryId=entries[-1]) is None
    assert await peer("entryServerNode.get", id=one["id"]) == "ENTRY_SERVER_NODE_NOT_FOUND"
    assert (await peer("liveStream.list", filter={"isLive": "1"}))["totalCount"] == 0


async def test_a_hidden_entry_is_live_for_its_owner_alone(scene: Scene) -> None:
    entry = await scene.entry(explicitLive="1", viewMode="0")
    await scene.peer("serverNode.reportStatus", hostName="m1", serverNode=NODE)
    await scene.peer("liveStream.registerMediaServer", entryId=entry, hostname="m1", mediaServerIndex="0")
    assert await scene.peer("liveStream.isLive", id=entry) is True
    assert await Peer(scene.api.http)("liveStream.isLive", id=entry) is False
    assert (await scene.peer("liveStream.getDetails", id=entry))["broadcastStatus"] == 2


async def test_calls_that_come_at_once_leave_one_truth(scene: Scene) -> None:
    """Two write one entry, register one server, end one session: nothing is lost, and nothing fails."""
    entry = await scene.entry()
    fields = [{"description": "d"}, {"tags": "t"}, {"referenceId": "r"}, {"userId": "u"}]
    asked = [scene.peer("liveStream.update", entryId=entry, liveStreamEntry=one) for one in fields]
    assert all(isinstance(answer, dict) for answer in await asyncio.gather(*asked))
    seen = await scene.peer("liveStream.get", entryId=entry)
    assert {name: seen[name] for one in fields for name in one} == {k: v for one in fields for k, v in one.items()}
    await scene.peer("serverNode.reportStatus", hostName="m1", serverNode=NODE)
    register = [scene.peer("liveStream.registerMediaServer", entryId=entry, hostname="m1", mediaServerIndex="0")] * 1
    register += [scene.peer("liveStream.registerMediaServer", entryId=entry, hostname="m1", mediaServerIndex="0")]
    assert all(isinstance(answer, dict) for answer in await asyncio.gather(*register))
    text = scene.session()
    ended = await asyncio.gather(*(Peer(scene.api.http, text)("session.end") for _ in range(3)))
    assert set(ended) <= {None, "INVALID_KS"}
    assert await Peer(scene.api.http, text)("session.get") == "INVALID_KS"
