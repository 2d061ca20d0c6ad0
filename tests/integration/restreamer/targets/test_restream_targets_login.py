"""Targets that ask who publishes: our calls against a server that takes FFmpeg's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.media_streams import FFMPEG, encode
from tests.support.restream_targets import has_failed, settle, spec, targets
from tests.support.rtmp_auth import PASSWORD, USER, auth_server
from tests.support.waiting import wait_until

LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"


@pytest.mark.parametrize(
    ("scheme", "app"), [("adobe", "live"), ("llnw", "live"), ("llnw", "live/inst"), ("adobe", "a?b=1")]
)
def test_we_answer_as_ffmpeg_does(scheme: str, app: str) -> None:
    with (
        auth_server(scheme) as server,
        targets(spec(1, f"rtmp://{LOGIN}@127.0.0.1:{server.port}/{app}/key?t=1")) as made,
    ):
        settle(made, 1, lambda status: bool(server.published) or status.state == "failed")
        assert server.published == ["key?t=1"]
        assert [asked.partition("?authmod")[0] for asked in server.asked] == [app] * 3


@pytest.mark.parametrize("scheme", ["adobe", "llnw"])
def test_the_server_of_these_tests_takes_ffmpeg(scheme: str, tmp_path: Path) -> None:
    source = encode(tmp_path / "source.flv", seconds=1, gop=30)
    with auth_server(scheme, "word") as server:  # FFmpeg decodes nothing of a password
        url = f"rtmp://{USER}:word@127.0.0.1:{server.port}/live/key"
        command = [FFMPEG, "-v", "error", "-i", str(source), "-c", "copy", "-f", "flv", url]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: bool(server.published))
        finally:
            process.kill()
            process.wait()
        assert server.published == ["key"]


def test_adobe_s_scheme_without_an_opaque_text() -> None:
    with auth_server("adobe", opaque=False) as server:
        with targets(spec(1, f"rtmp://{LOGIN}@127.0.0.1:{server.port}/live/key")) as made:
            settle(made, 1, lambda status: bool(server.published) or status.state == "failed")
        assert server.published == ["key"]


@pytest.mark.parametrize(
    ("login", "why"),
    [("", "asks for a user and a password"), ("studio:wrong-password@", "does not take this user and password"),
     ("nobody:wrong-password@", "does not take this user and password")],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["adobe", "llnw"])
def test_a_refused_login_is_told_without_secrets(scheme: str, login: str, why: str) -> None:
    with (
        auth_server(scheme) as server,
        targets(spec(1, f"rtmp://{login}127.0.0.1:{server.port}/live/key", tries=0)) as made,
    ):
        status = settle(made, 1, has_failed)
        assert why in status.error
        assert "wrong-password" not in status.error
        assert server.published == []
