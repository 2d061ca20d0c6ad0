"""FTP servers that answer what no real one can be made to answer, by mistake or by intent."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from services.exporter.destinations import ftp_control
from services.exporter.destinations.ftp import FtpDestination, FtpMaker
from shared.errors import DestinationFailed
from tests.support.ftp_scripted import ScriptedFtp, scripted_ftp
from tests.support.uploads import ALLOWED, PIECE, Kept, MemoryFile, login_order, make_certificate

FILM = MemoryFile(bytes(range(256)) * 1000, known=False)
PART = f".reelay-{login_order('ftp://a/b').export}-exact.part"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftp_control, "REPLY_S", 1.0)


def target(server: ScriptedFtp, tls: str = "", ca_file: str = "", name: str = "clip.mp4") -> FtpDestination:
    url = f"ftp://localhost:{server.port}/{name}"
    return FtpMaker(ALLOWED, ca_file)(login_order(url, "editor", "right-word", tls=tls))


async def failure(server: ScriptedFtp, **more: Any) -> DestinationFailed:
    async with scripted_ftp(server):
        with pytest.raises(DestinationFailed) as failed:
            await target(server, **more).put(FILM, Kept())
    return failed.value


HOSTILE: list[tuple[str, ScriptedFtp, bool]] = [
    ("a greeting that never ends", ScriptedFtp(endless=b"220-more\r\n"), True),
    ("a line that never ends", ScriptedFtp(endless=b"220 more"), True),
    ("a huge line", ScriptedFtp(greeting=b"220 " + b"x" * 100_000 + b"\r\n"), True),
    ("no FTP at all", ScriptedFtp(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n" * 300), True),
    ("silence", ScriptedFtp(greeting=b""), False),
    ("another code at the end of a reply", ScriptedFtp(answers={"USER": "331-one\r\n230 two"}), True),
    ("a port that cannot be", ScriptedFtp(answers={"EPSV": "229 here (|||99999|)"}), True),
    ("a passive reply without a port", ScriptedFtp(answers={"EPSV": "229 here", "PASV": "227 somewhere"}), True),
    ("ports where nobody listens", ScriptedFtp(answers={"EPSV": "229 (|||1|)", "PASV": "227 (1,2,3,4,0,1)"}), False),
    ("an end in the middle", ScriptedFtp(answers={"CWD": "", "TYPE": ""}), False),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "server", "final"), HOSTILE, ids=[row[0] for row in HOSTILE])
async def test_a_hostile_server_is_left_soon(_name: str, server: ScriptedFtp, final: bool) -> None:
    async with asyncio.timeout(20):
        failed = await failure(server)
    assert failed.final is final, failed
    assert len(str(failed)) < 600


REPLIES: list[tuple[str, ScriptedFtp, bool, str]] = [
    ("too many users", ScriptedFtp(greeting=b"421 There are too many connected users\r\n"), False, "greeting"),
    ("a refused password", ScriptedFtp(answers={"PASS": "530 Login incorrect."}), True, "login"),
    ("too many logins", ScriptedFtp(answers={"PASS": "530 Sorry, the maximum number of clients"}), False, "login"),
    ("an account that is asked for", ScriptedFtp(answers={"PASS": "332 ACCT?"}), True, "ACCT"),
    ("a password that is told", ScriptedFtp(answers={"PASS": "530 no, right-word is wrong"}), True, r"\*\*\*"),
    ("a folder that cannot be made", ScriptedFtp(answers={"CWD": "550 none", "MKD": "550 no"}), True, "folder a: .*no"),
    ("a file that may not be written", ScriptedFtp(answers={"STOR": "550 denied"}), True, "upload"),
    ("a name that is not allowed", ScriptedFtp(answers={"STOR": "553 denied"}), True, "upload"),
    ("a full disk", ScriptedFtp(answers={"STOR": "452 full"}), False, "upload"),
    ("a full quota", ScriptedFtp(answers={"STOR": "552 full"}), False, "upload"),
    ("a rename that is refused for now", ScriptedFtp(answers={"RNTO": "450 busy"}), False, "rename"),
    ("a rename that is refused", ScriptedFtp(answers={"RNTO": "553 denied", "DELE": "550 denied"}), True, "rename"),
    ("a rename that fails twice", ScriptedFtp(answers={"RNTO": "550 x", "DELE": "250 x"}), False, "rename"),
    ("a control connection that is lost", ScriptedFtp(answers={"STOR": ""}), False, "closed by the server"),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "server", "final", "said"), REPLIES, ids=[row[0] for row in REPLIES])
async def test_a_refusal_is_final_or_not_by_its_code_and_step(
    _name: str, server: ScriptedFtp, final: bool, said: str
) -> None:
    failed = await failure(server, name="a/clip.mp4")
    assert failed.final is final
    with pytest.raises(DestinationFailed, match=said):
        raise failed
    assert "right-word" not in str(failed)


async def test_data_goes_to_the_server_whatever_address_it_tells() -> None:
    told: list[str] = []

    def pasv(server: ScriptedFtp, _rest: str) -> str:
        told.append("10.1.2.3")
        return f"227 Entering Passive Mode (10,1,2,3,{server.passive // 256},{server.passive % 256})"

    server = ScriptedFtp(answers={"EPSV": "500 unknown", "PASV": pasv})
    async with scripted_ftp(server):
        await target(server).put(FILM, Kept())
    assert told
    assert server.files == {"clip.mp4": FILM.data}
    assert not {"LIST", "NLST", "MLSD", "PORT", "EPRT"} & set(server.words())  # no listing, however long, is asked for


async def test_what_was_said_before_tls_began_is_no_reply(tmp_path: Path) -> None:
    _, cert = make_certificate(tmp_path)
    server = ScriptedFtp(answers={"AUTH": "234 go on\r\n230 you are logged in"})
    failed = await failure(server, tls="explicit", ca_file=str(cert))
    assert (failed.final, "more than its reply" in str(failed)) == (True, True)


async def test_a_password_is_never_sent_in_clear_where_tls_was_asked_for() -> None:
    server = ScriptedFtp(answers={"AUTH": "502 unknown"})
    failed = await failure(server, tls="explicit")
    assert failed.final
    assert not {"USER", "PASS"} & set(server.words())


async def test_a_server_that_waits_for_tls_is_recognised() -> None:
    failed = await failure(ScriptedFtp(greeting=b""))
    assert "perhaps it expects TLS at once" in str(failed)


async def test_a_server_may_take_its_time_after_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftp_control, "_SIGN_OF_LIFE_S", 0.1)
    file, told, enough = MemoryFile(b"film", known=False), Kept(), asyncio.Event()

    class Slow(ScriptedFtp):
        async def _stor(self, name: str, writer: asyncio.StreamWriter) -> str:
            reply = await super()._stor(name, writer)
            await enough.wait()
            return reply

    async def sent(total: int) -> None:
        told.totals.append(total)
        if told.totals.count(4) > 20:  # two seconds: longer than any other reply may take
            enough.set()

    told.sent = sent  # type: ignore[method-assign]
    async with scripted_ftp(Slow()) as server:
        await target(server).put(file, told)
    assert server.files == {"clip.mp4": b"film"}


@pytest.mark.parametrize(
    ("_name", "answers", "kept"),
    [
        ("REST", {}, True),
        ("APPE only", {"REST": "502 unknown"}, True),
        ("neither", {"REST": "502 unknown", "APPE": "550 denied"}, False),
    ],
)
async def test_a_server_without_rest_gets_the_file_anew(_name: str, answers: dict[str, Any], kept: bool) -> None:
    server = ScriptedFtp(answers=answers, files={PART: FILM.data[:100_000]})
    async with scripted_ftp(server):
        file = MemoryFile(FILM.data, known=False)
        await target(server).put(file, Kept(resume=PART))
    assert server.files == {"clip.mp4": FILM.data}
    assert (file.read_from[-1] == 100_000) is kept


async def test_a_server_that_starts_anew_although_it_took_rest_is_found_out() -> None:
    server = ScriptedFtp(answers={"REST": "350 yes"}, files={PART: FILM.data[:100_000]})
    async with scripted_ftp(server):
        told = Kept(resume=PART)
        with pytest.raises(DestinationFailed, match="has 156000 bytes, and not 256000") as failed:
            await target(server).put(FILM, told)
        assert not failed.value.final
        await target(server).put(FILM, told)
    assert server.files == {"clip.mp4": FILM.data}


async def test_a_server_that_changes_bytes_is_found_out() -> None:
    def spoil(server: ScriptedFtp, name: str) -> str | None:  # as ASCII mode does, but of the same size
        server.files[name] = server.files[name].replace(b"\n\x0b", b"\r\n")
        return None

    server = ScriptedFtp(answers={"SIZE": spoil})
    server.files["clip.mp4"] = b"fast"
    async with scripted_ftp(server):
        with pytest.raises(DestinationFailed, match="has other bytes than were sent"):
            await target(server).put(FILM, Kept())
    assert server.files == {"clip.mp4": b"fast"}


async def test_a_server_without_size_tells_it_by_what_can_be_read() -> None:
    server = ScriptedFtp(answers={"SIZE": "502 unknown"})
    async with scripted_ftp(server):
        await target(server).put(FILM, Kept())
        assert await target(server).holds(FILM)
        assert not await target(server).holds(MemoryFile(FILM.data[:-1], known=False))
    assert server.files == {"clip.mp4": FILM.data}


async def test_a_folder_that_may_only_be_written_to_is_enough() -> None:
    server = ScriptedFtp(answers={"RETR": "550 denied"})
    async with scripted_ftp(server):
        await target(server).put(FILM, Kept())
    assert server.files == {"clip.mp4": FILM.data}


async def test_hashing_what_is_there_already_is_told_as_life() -> None:
    """From a slow store, what is hashed again for a server that tells only SHA-1 takes longer than any pause may."""
    film = MemoryFile(bytes(4 * PIECE), known=False)
    half = len(film.data) // 2
    told, before = Kept(resume=PART), [0]

    async def each(_at: int) -> None:
        before.append(len(told.totals))

    film.each = each
    features = "211-has\r\n UTF8\r\n SIZE\r\n REST STREAM\r\n XSHA1\r\n211 end"
    digest = hashlib.sha1(film.data, usedforsecurity=False).hexdigest()
    server = ScriptedFtp(answers={"FEAT": features, "XSHA1": f"250 {digest}"}, files={PART: film.data[:half]})
    async with scripted_ftp(server):
        await target(server).put(film, told)
    assert server.files == {"clip.mp4": film.data}
    assert before[3] == 2, "told at each piece before the first that is sent"
    assert told.totals[:2] == [half, half]


async def test_a_port_of_epsv_that_is_shut_on_the_way_is_asked_for_by_pasv() -> None:
    """Some routers open only the ports that they read in replies to PASV."""

    def pasv(server: ScriptedFtp, _rest: str) -> str:
        return f"227 Entering Passive Mode (10,1,2,3,{server.passive // 256},{server.passive % 256})"

    server = ScriptedFtp(answers={"EPSV": "229 here (|||1|)", "PASV": pasv})
    async with scripted_ftp(server):
        await target(server).put(FILM, Kept())
    assert server.files == {"clip.mp4": FILM.data}


async def test_where_nothing_may_be_renamed_the_old_file_stays() -> None:
    server = ScriptedFtp(answers={"RNFR": "550 denied"}, files={"clip.mp4": b"fast"})
    async with scripted_ftp(server):
        with pytest.raises(DestinationFailed, match="rename: the server said: 550 denied") as failed:
            await target(server).put(FILM, Kept())
    assert failed.value.final
    assert server.files["clip.mp4"] == b"fast"


async def test_what_another_exporter_has_just_renamed_is_not_replaced_by_nothing() -> None:
    def outrun(server: ScriptedFtp, name: str) -> None:
        if name in server.files:
            server.files["clip.mp4"] = server.files.pop(name)

    server, told = ScriptedFtp(answers={"RNFR": outrun}), Kept()
    async with scripted_ftp(server):
        with pytest.raises(DestinationFailed, match="rename: the server said: 550") as failed:
            await target(server).put(FILM, told)
        assert not failed.value.final
        assert server.files == {"clip.mp4": FILM.data}
        await target(server).put(FILM, told)
    assert server.words().count("STOR") == 1
