"""Servers that ask for a user and a password, and servers whose certificates an authority of the operator's made."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.restreamer.model import SourceError
from services.restreamer.sources import Access
from services.restreamer.sources.origins.remote import resolved
from shared.runtime.settings import Settings
from shared.security.netguard.tls import trusting
from shared.security.secrets import redact_url
from shared.security.webhooks import seal_url
from tests.support.framecode_record import Spec, encode
from tests.support.nats import nats_server
from tests.support.restream_desk import desk
from tests.support.restream_receiver import Receiver
from tests.support.rtmp_certificate import make_certificate, make_contexts
from tests.support.rtmp_server import PATIENT, record_flv, rtmp_server
from tests.support.shared_bus import child, settings_for
from tests.support.source_server import source_server
from tests.support.sources import access_to, numbers, opened
from tests.support.subscriptions import cdn_subscription, task
from tests.support.webhook_receiver import webhook_receiver

USER, PASSWORD = "ann@league", "p:w d"
WRITTEN = "ann%40league:p%3Aw%20d"
GRANT = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Locked:
    """A server of files that asks for a user; what it was sent as authorization, by path."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    open: bool = False
    given: dict[str, str | None] = field(default_factory=dict)

    def url(self, path: str, user: str = WRITTEN) -> str:
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def locked() -> Iterator[Locked]:
    state = Locked()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = state.given[self.path] = self.headers.get("Authorization")
            allowed = state.open or given == GRANT
            where, data = state.redirects.get(self.path), state.files.get(self.path, b"")
            self.send_response(401 if not allowed else 302 if where else 200)
            if where:
                self.send_header("Location", where)
            data = data if allowed and not where else b""
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("film")
    for name in ("a.mp4", "a.ts"):
        encode(Spec(seconds=Fraction(2), options=("-movflags", "+faststart") if "mp4" in name else ()), folder / name)
    return {f"/{name}": (folder / name).read_bytes() for name in ("a.mp4", "a.ts")}


def seen(url: str, access: Access) -> list[int]:
    media = opened("url", url, access)
    try:
        return numbers(media.video, list(media.packets(0)))
    finally:
        media.close()


def test_a_user_in_a_source_s_url_is_told_to_its_server_alone(film: dict[str, bytes], tmp_path: Path) -> None:
    access = access_to(tmp_path)
    with locked() as server, locked() as elsewhere:
        server.files, elsewhere.files, elsewhere.open = film, film, True
        head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n"
        server.files = film | {
            "/near.m3u8": f"{head}a.ts\n#EXT-X-ENDLIST\n".encode(),
            "/whole.m3u8": f"{head}{server.url('/a.ts', '')}\n#EXT-X-ENDLIST\n".encode(),
            "/far.m3u8": f"{head}{elsewhere.url('/a.ts', '')}\n#EXT-X-ENDLIST\n".encode(),
        }
        server.redirects = {"/moved": server.url("/a.mp4", ""), "/away": elsewhere.url("/a.mp4", "")}
        for path in ("/a.mp4", "/near.m3u8", "/whole.m3u8", "/far.m3u8", "/moved", "/away"):
            assert seen(server.url(path), access) == list(range(60)), path
        assert set(server.given.values()) == {GRANT}
        assert set(elsewhere.given.values()) == {None}, "another server is not told"
        for user in ("", "ann%40league:wrong"):
            with pytest.raises(SourceError, match="access to it was refused \\(401\\)") as caught:
                seen(server.url("/a.mp4", user), access)
            assert "wrong" not in str(caught.value)
    assert redact_url(server.url("/a.mp4")) == f"http://***@127.0.0.1:{server.port}/a.mp4"


REFERENCES = [
    ("http://u:p@h/a/list.m3u8", "b.ts", "http://u:p@h/a/b.ts"),
    ("http://u:p@h/a/list.m3u8", "/b.ts?x=1", "http://u:p@h/b.ts?x=1"),
    ("http://u:p@h/a/list.m3u8", "http://h/b.ts", "http://u:p@h/b.ts"),
    ("http://u:p@h:80/list.m3u8", "http://h:8080/b.ts", "http://h:8080/b.ts"),
    ("http://u:p@h/list.m3u8", "https://h/b.ts", "https://h/b.ts"),
    ("http://u:p@h/list.m3u8", "http://v:q@h/b.ts", "http://v:q@h/b.ts"),
    ("http://u:p@h/list.m3u8", "//other/b.ts", "http://other/b.ts"),
    ("http://h/list.m3u8", "http://h/b.ts", "http://h/b.ts"),
]


@pytest.mark.parametrize(("base", "reference", "whole"), REFERENCES)
def test_a_reference_keeps_the_user_on_the_same_server_only(base: str, reference: str, whole: str) -> None:
    assert resolved(base, reference) == whole


def test_an_authority_that_is_named_is_trusted_besides_the_usual_ones(film: dict[str, bytes], tmp_path: Path) -> None:
    serving, _ = make_contexts(tmp_path)
    with source_server(serving) as server:
        url = server.put("/a.mp4", film["/a.mp4"])
        with pytest.raises(SourceError, match="certificate is not trusted"):
            seen(url, access_to(tmp_path, tls=trusting("")))
        own = trusting(str(tmp_path / "cert.pem"))
        assert seen(url, access_to(tmp_path, tls=own)) == list(range(60))
        usual = trusting("").cert_store_stats()["x509"]
        assert own.cert_store_stats()["x509"] > usual > 0, "the usual ones are still trusted"


def test_a_file_of_authorities_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="there is no file"):
        Settings(ca_file=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"no certificate can be read from .*bad\.pem"):
        trusting(str(tmp_path / "bad.pem"))


async def test_services_trust_the_operator_s_authority_in_sources_targets_and_callbacks(
    film: dict[str, bytes], tmp_path: Path
) -> None:
    _, cert = make_certificate(tmp_path)
    serving, _ = make_contexts(tmp_path)  # anew, for the same paths
    local = {"REELAY_ALLOW_NETS": "127.0.0.0/8,::1/128", "REELAY_CA_FILE": str(cert)}
    with (
        nats_server(tmp_path / "nats") as server,
        source_server(serving) as files,
        rtmp_server(PATIENT, tls=serving, record=record_flv) as (rtmp, ingest),
        contextlib.ExitStack() as services,
    ):
        settings = settings_for(server, tmp_path)
        for name in ("restreamer", "notifier"):
            services.enter_context(child(settings, tmp_path / f"{name}.log", f"services.{name}", **local))
        async with desk(server) as at, webhook_receiver(serving) as hook:
            url = files.put("/a.mp4", film["/a.mp4"])
            source = at.item("a.mp4").source.model_copy(update={"kind": "url", "location": seal_url(at.vault, url)})
            whom = hook.url("/told", "localhost")
            told = await cdn_subscription(at.js, at.account, at.vault, whom, task(at.vault))
            spec = at.spec("a.mp4", to=(f"rtmps://localhost:{rtmp.port}/live/x",), loops=1, subscription=told)
            item = spec.items[0].model_copy(update={"source": source})
            await at.send("start", spec=spec.model_copy(update={"items": (item,)}))
            await hook.count(2, within=60)
            assert [r.json["msg"] for r in hook.requests] == ["Start pushing!", "Task ended!"]
        assert Receiver(rtmp.port, ingest).pictures("x") == 60
