"""Every action of the Kaltura API with every kind of session, and none; partners apart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import string
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.gateway.facades.kaltura import ks
from services.gateway.facades.kaltura.rpc import Rpc
from tests.support.api_gateway import Gateway, gateway
from tests.support.kaltura_client import Peer, partner
from tests.support.nats import NatsServer

ANYBODY = {
    "livestream.islive", "session.start", "system.ping", "wowza_liveconversionprofile.serve",
    "wowza_livestreamconversionprofile.serve",
}  # fmt: skip
SESSIONS = {"livestream.get", "livestream.getdetails", "session.end", "session.get"}
USERS = {"livestream.list", "flavorasset.list"}
OWNERS = {"livestream.add", "livestream.update", "livestream.delete", "livestream.regeneratestreamtoken"}
ENGINES = {
    "livestream.authenticate", "livestream.registermediaserver", "livestream.unregistermediaserver",
    "livestream.validateregisteredmediaservers", "entryservernode.get", "entryservernode.list",
    "entryservernode.update", "entryservernode.updatestatus", "permission.get", "conversionprofile.get",
    "conversionprofileassetparams.list", "flavorparams.list", "flavorparams.getbyconversionprofileid",
}  # fmt: skip
HOSTS = {"servernode.reportstatus", "servernode.list", "mediaserver.reportstatus", "mediaserver.get"}
ALL = ANYBODY | SESSIONS | USERS | OWNERS | ENGINES | HOSTS
REFUSED = {"SERVICE_FORBIDDEN", "MISSING_KS", "INVALID_KS"}
OF_ENTRIES = {
    name for name in ALL if name.startswith("livestream.") and name not in {"livestream.add", "livestream.list"}
} | {"flavorasset.list"}  # fmt: skip
OF_ENTRIES -= {"livestream.islive"}
ALLOWED = {
    "none": ANYBODY, "widget": ANYBODY | SESSIONS, "user": ANYBODY | SESSIONS | USERS, "admin": ALL,
    "engine": ALL - OWNERS, "engine alone": ANYBODY | HOSTS | {"session.end", "session.get", "livestream.list"},
    "user engine": ANYBODY | {"session.end", "session.get"},
}  # fmt: skip


@dataclass
class Scene:
    api: Gateway
    secrets: dict[int, str]
    mine: int
    other: int

    def session(self, number: int, kind: int = ks.ADMIN, seconds: int = 600, privileges: str = "") -> str:
        expiry = self.api.clock.now_ms() // 1000 + seconds
        session = ks.Session(number, kind, expiry, "u", ks.privileges_of(privileges))
        return ks.make(session, self.secrets[number], secrets.token_bytes(16))

    def peer(self, text: str = "") -> Peer:
        return Peer(self.api.http, text)

    def fields(self, entry: str) -> dict[str, Any]:
        """Name the entry in every way in which actions ask for one."""
        return {
            "entryId": entry, "id": entry, "filter": {"entryIdEqual": entry}, "hostname": "h", "hostName": "h",
            "token": "x",
            "mediaServerIndex": "0", "liveStreamEntry": {"name": "n"}, "conversionProfileId": 1, "permissionName": "P",
            "serverNode": {"hostName": "h"}, "streamName": f"{entry}_1",
        }  # fmt: skip


@pytest.fixture
async def scene(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    async with gateway(nats, tmp_path, account_rate=0) as api:
        found = {}
        for body in ({"account": f"a-{uuid.uuid4().hex[:8]}"}, {"account": f"b-{uuid.uuid4().hex[:8]}"}):
            number, secret = await partner(api, **body)
            found[number] = secret
        mine, other = found
        await api.http.delete("/v1/kaltura-partners/-5")
        number, secret = await partner(api, media_server=True)
        yield Scene(api, found | {number: secret}, mine, other)


def test_the_table_holds_every_action(tmp_path: Path) -> None:
    from services.gateway.app import make_gateway, web_of  # noqa: PLC0415  heavy, and for this alone
    from shared.runtime.service import make_service  # noqa: PLC0415
    from shared.runtime.settings import Settings  # noqa: PLC0415

    web = web_of(make_gateway(make_service("gateway", Settings(data_dir=tmp_path, secret_key="x"))))
    assert {f"{service}.{action}" for service, action in web.state.parts[Rpc].table} == ALL


async def test_an_action_is_opened_by_its_sessions_alone(scene: Scene) -> None:
    """A new entry for each action: some change it."""
    owner = scene.peer(scene.session(scene.mine))
    entry = (await owner("liveStream.add", liveStreamEntry={"name": "x"}))["id"]
    for name in sorted(ALL):
        for who, allowed in ALLOWED.items():
            fields: dict[str, Any] = scene.fields(entry)
            text = {
                "none": "", "widget": scene.session(scene.mine, ks.WIDGET), "user": scene.session(scene.mine, ks.USER),
                "admin": scene.session(scene.mine), "engine": scene.session(-5), "engine alone": scene.session(-5),
                "user engine": scene.session(-5, ks.USER),
            }[who]  # fmt: skip
            if who == "engine" and name != "session.start":
                fields["partnerId"] = scene.mine
            answer = await scene.peer(text)(name, **fields)
            expected = None if name in allowed else "MISSING_KS" if who == "none" else "SERVICE_FORBIDDEN"
            found = answer if isinstance(answer, str) and answer in REFUSED else None
            assert found == expected, f"{name} with {who}: {answer}"
            if name == "livestream.delete" and who == "admin":
                entry = (await owner("liveStream.add", liveStreamEntry={"name": "x"}))["id"]


def rewritten(text: str) -> list[str]:
    """Write a KS in other ways that are read as the same."""
    raw = base64.urlsafe_b64decode(text)
    other = base64.urlsafe_b64encode(raw.replace(b"v2|", b"v2|00", 1)).decode()
    last = text.rstrip("=")
    loose = [last[:-1] + one for one in string.ascii_letters if one != last[-1]]
    same = [one for one in loose if base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)) == raw]
    return [text.rstrip("=").replace("-", "+").replace("_", "/"), other, *same]


async def test_an_ended_session_stays_ended_however_it_is_written(scene: Scene) -> None:
    seconds = scene.api.clock.now_ms() // 1000 + 600
    info = f"{scene.mine};{scene.mine};{seconds};2;1;u;"
    signature = hashlib.sha1(f"{scene.secrets[scene.mine]}{info}".encode()).hexdigest()
    first, loud = (base64.b64encode(f"{one}|{info}".encode()).decode() for one in (signature, signature.upper()))
    for text in (scene.session(scene.mine), first):
        others = rewritten(text) if text != first else [loud]
        for one in others:
            assert isinstance(await scene.peer(one)("session.get"), dict)
        assert await scene.peer(text)("session.end") is None
        for one in others:
            assert await scene.peer(one)("session.get") == "INVALID_KS"


async def test_media_servers_act_for_the_partner_that_they_name(scene: Scene) -> None:
    owner, engine = scene.peer(scene.session(scene.mine)), scene.peer(scene.session(-5))
    entry = await owner("liveStream.add", liveStreamEntry={"name": "x"})
    await engine("serverNode.reportStatus", hostName="m1", serverNode={"hostName": "m1"})
    call = {"entryId": entry["id"], "hostname": "m1", "mediaServerIndex": "0", "partnerId": scene.mine}
    shown = await engine("liveStream.authenticate", token=entry["streamPassword"], **call)
    assert shown["partnerId"] == scene.mine
    assert (await engine("liveStream.registerMediaServer", **call))["liveStatus"] == 1
    assert await engine("liveStream.registerMediaServer", **call | {"partnerId": scene.other}) == "ENTRY_ID_NOT_FOUND"
    assert await owner("liveStream.isLive", id=entry["id"]) is True
    assert (await owner("serverNode.list"))["totalCount"] == 0, "it is not the partner's own"
    second = scene.peer(scene.session(scene.other))
    theirs = await second("liveStream.add", liveStreamEntry={"name": "y"})
    register = {"entryId": theirs["id"], "hostname": "m1", "mediaServerIndex": "0"}
    assert await second("liveStream.registerMediaServer", **register) == "MEDIA_SERVER_NOT_FOUND"
    await second("serverNode.reportStatus", hostName="m1", serverNode={"hostName": "m1"})
    assert (await second("liveStream.registerMediaServer", **register))["liveStatus"] == 1
    hosted = await engine("liveStream.list", filter={"isLive": "1", "hasMediaServerHostname": "M1"})
    assert [one["id"] for one in hosted["objects"]] == [entry["id"]], "the other partner's m1 is another host"
    assert await engine("liveStream.list") == "MISSING_MANDATORY_PARAMETER"
    assert (await engine("liveStream.list", filter={"hasMediaServerHostname": "m2"}))["totalCount"] == 0


@pytest.mark.parametrize("how", ["expired", "killed", "forged", "removed", "limited", "elsewhere"])
async def test_a_session_that_is_not_valid_opens_nothing(scene: Scene, how: str) -> None:
    text = scene.session(scene.mine, seconds=-1 if how == "expired" else 600)
    if how == "killed":
        assert await scene.peer(text)("session.end") is None
    if how == "forged":
        text = ks.make(ks.Session(scene.mine, ks.ADMIN, 2**40), scene.secrets[scene.other], bytes(16))
    if how == "removed":
        await scene.api.http.delete(f"/v1/kaltura-partners/{scene.mine}")
    if how in {"limited", "elsewhere"}:
        text = scene.session(scene.mine, privileges="actionslimit:1" if how == "limited" else "iprestrict:192.0.2.9")
    for name in sorted(ALL):
        answer = await scene.peer(text)(name, **scene.fields("0_aaaaaaaa"))
        assert answer == "INVALID_KS" or (answer == "RATE_LIMITED" and how in {"forged", "removed"}), name


async def test_partners_find_nothing_of_each_other(scene: Scene) -> None:
    mine, other = scene.peer(scene.session(scene.mine)), scene.peer(scene.session(scene.other))
    entry = (await mine("liveStream.add", liveStreamEntry={"name": "secret"}))["id"]
    for name in sorted(OF_ENTRIES):
        assert await other(name, **scene.fields(entry)) == "ENTRY_ID_NOT_FOUND", name
    assert (await other("liveStream.list"))["totalCount"] == 0
    for text in (scene.session(scene.other), scene.session(-5, ks.USER), scene.session(scene.mine, ks.USER)):
        for name in sorted(ALL - {"session.start"}):
            wrong = await scene.peer(text)(name, **scene.fields(entry), partnerId=scene.other + 1)
            assert wrong == "SERVICE_FORBIDDEN", name
    assert await scene.peer(scene.session(-5))("liveStream.list", partnerId=12345) == "INVALID_KS"
    found = await scene.peer(scene.session(-5))("liveStream.list", partnerId=scene.mine)
    assert [one["id"] for one in found["objects"]] == [entry]


async def test_only_administrators_see_tokens_and_addresses(scene: Scene) -> None:
    admin = scene.peer(scene.session(scene.mine))
    published = [{"publishUrl": "rtmp://h/app/secret-key"}]
    asked = {"name": "x", "publishConfigurations": published, "recordingOptions": {"shouldMakeHidden": True}}
    made = await admin("liveStream.add", liveStreamEntry=asked)
    assert made["publishConfigurations"][0]["publishUrl"] == "rtmp://h/app/secret-key"
    assert made["recordingOptions"]["shouldMakeHidden"] == 1
    for kind in (ks.USER, ks.WIDGET):
        seen = await scene.peer(scene.session(scene.mine, kind))("liveStream.get", entryId=made["id"])
        assert seen["name"] == "x"
        assert not {"streamPassword", "srtPass", "primaryBroadcastingUrl", "publishConfigurations"} & set(seen)
        assert made["streamPassword"] not in str(seen)


async def test_wrong_secrets_and_unknown_ids_are_limited_by_network(scene: Scene) -> None:
    """Nobody guesses a secret, or an entry, faster than the usual budget of unknown keys allows."""
    nobody = scene.peer()
    guesses = (nobody("session.start", secret="wrong", partnerId=scene.mine) for _ in range(60))
    answers = await asyncio.gather(*guesses)
    assert set(answers) == {"START_SESSION_ERROR", "RATE_LIMITED"}
    answers = await asyncio.gather(*(nobody("liveStream.isLive", id=f"0_{number:08}") for number in range(60)))
    assert set(answers) <= {"INVALID_ENTRY_ID", "RATE_LIMITED"}
    assert "RATE_LIMITED" in answers
    assert await scene.peer(scene.session(scene.mine))("session.get") != "RATE_LIMITED"
