"""How URLs of FTP and SFTP destinations are read, and which host keys are pinned."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from services.exporter.destinations.ftp import FtpMaker
from services.exporter.destinations.ftp_control import Reply, refusal
from services.exporter.destinations.remote import read_url, saying, temporary_name
from services.exporter.destinations.ssh_connection import Pins
from shared.errors import DestinationFailed
from tests.support.uploads import ALLOWED, login_order

SCHEMES = frozenset({"ftp", "ftps", "sftp"})
URLS = [
    # URL, absolute, folders, name, location
    ("ftp://host/clip.mp4", False, (), "clip.mp4", "ftp://host/clip.mp4"),
    ("ftp://host", False, (), "clip.mp4", "ftp://host/clip.mp4"),
    ("ftp://host/a/b/", False, ("a", "b"), "clip.mp4", "ftp://host/a/b/clip.mp4"),
    ("ftp://host//a/x.mp4", True, ("a",), "x.mp4", "ftp://host//a/x.mp4"),
    ("ftp://host/%2Fa/x.mp4", True, ("a",), "x.mp4", "ftp://host//a/x.mp4"),
    ("ftp://host/%2fa/x.mp4", True, ("a",), "x.mp4", "ftp://host//a/x.mp4"),
    ("ftp://user:word@host:2121/x.mp4", False, (), "x.mp4", "ftp://host:2121/x.mp4"),
    ("ftps://[2001:db8::1]/a%20b/%5Bc%5D.mp4", False, ("a b",), "[c].mp4", "ftps://[2001:db8::1]/a%20b/%5Bc%5D.mp4"),
    ("sftp://host/~/x.mp4", False, ("~",), "x.mp4", "sftp://host/~/x.mp4"),
]  # fmt: skip
REFUSED = ["http://host/x", "ftp:///x", "ftp://host/../x", "ftp://host/a/./x", "ftp://host/a%0D%0ADELE%20x", "ftp://host/a%2Fb",
           "ftp://host/%FF", "ftp://host/a%00", "ftp://10.0.0.1/x", "ftp://host/x#y"]  # fmt: skip


@pytest.mark.parametrize(("url", "absolute", "folders", "name", "location"), URLS)
def test_a_url_is_read(url: str, absolute: bool, folders: tuple[str, ...], name: str, location: str) -> None:
    allowed = [ip_network("2001:db8::/32")]
    remote = read_url(login_order(url), SCHEMES, allowed)
    assert (remote.absolute, remote.folders, remote.name, remote.location) == (absolute, folders, name, location)
    assert "word" not in repr(remote)


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_leaves_its_folder_or_ends_a_command_is_refused(url: str) -> None:
    with pytest.raises(DestinationFailed) as failed:
        FtpMaker(())(login_order(url))
    assert failed.value.final


def test_credentials_come_before_those_of_the_url() -> None:
    remote = read_url(login_order("ftp://a:b@localhost/x", "editor", "right-word"), SCHEMES, ALLOWED)
    assert (remote.user, remote.password) == ("editor", "right-word")
    remote = read_url(login_order("ftp://a%40b:c%2Fd@localhost/x"), SCHEMES, ALLOWED)
    assert (remote.user, remote.password) == ("a@b", "c/d")


def test_each_export_and_accuracy_has_its_own_temporary_name() -> None:
    orders = [login_order("ftp://h/x", accuracy=a, position=p) for a in ("fast", "exact") for p in (0, 1)]
    assert len({temporary_name(one) for one in orders}) == 4


@pytest.mark.parametrize(
    ("code", "text", "final"),
    [(421, "", False), (425, "", False), (426, "", False), (450, "", False), (451, "", False), (452, "", False),
     (500, "", True), (522, "", True), (530, "Login incorrect", True), (530, "maximum number of clients", False),
     (550, "", True), (552, "", False), (553, "", True)],
)  # fmt: skip
def test_a_code_decides_whether_another_try_is_made(code: int, text: str, final: bool) -> None:
    assert refusal("upload", Reply(code, (text,))).final is final


def test_what_a_server_says_is_shown_short_and_printable() -> None:
    assert saying("a\r\nb\x1b[31m\x00c") == "a b [31m c"
    assert len(saying("x" * 10_000)) < 400


@pytest.mark.parametrize(("text", "keys", "prints"), [("", 0, 0), ("SHA256:" + "A" * 43, 0, 1)])
def test_pins_are_read(text: str, keys: int, prints: int) -> None:
    pins = Pins.of(text)
    assert (len(pins.keys), len(pins.fingerprints)) == (keys, prints)


@pytest.mark.parametrize("text", ["nonsense", "ssh-ed25519 AAAA", "MD5:aa:bb"])
def test_a_host_key_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(DestinationFailed) as failed:
        Pins.of(text)
    assert failed.value.final
