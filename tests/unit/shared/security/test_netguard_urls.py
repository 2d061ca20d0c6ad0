"""Which URLs are refused by their look, and in which spelling the others are kept."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Rejected
from shared.security.netguard import AddressRefused, UrlRefused, check_url, is_reachable
from shared.security.netguard.urls import LONGEST_URL

WEB = ("http", "https")
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM./Hook?a=B", "https://example.com/Hook?a=B"),
        ("http://8.8.8.8:8080/x", "http://8.8.8.8:8080/x"),
        ("http://[2606:4700:0000::1111]/", "http://[2606:4700::1111]/"),
        ("https://bücher.example/ü?q=ö", "https://xn--bcher-kva.example/%C3%BC?q=%C3%B6"),
        ("https://BÜCHER。example/", "https://xn--bcher-kva.example/"),
        ("https://faß.de/", "https://xn--fa-hia.de/"),
        ("https://a_b.example/%20x%2F", "https://a_b.example/%20x%2F"),
        ("https://0x7f.example/", "https://0x7f.example/"),
        ("https://myserver.com/api/notification_listener?type=jvod", None),
    ],
)
def test_a_fair_url_is_kept_in_one_spelling(given_url: str, kept: str | None) -> None:
    assert check_url(given_url, schemes=WEB, allowed=()).url == (kept or given_url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://0.0.0.0/",
        "http://10.1.2.3/",
        "http://172.31.255.255/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
        "http://192.0.0.192/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::8.8.8.8]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:1::1]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[fd00:ec2::254]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://１２７.０.０.１/",
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://ⓛocalhost/",
    ],
)
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refusal:
        check_url(url, schemes=WEB, allowed=())
    assert isinstance(refusal.value, Rejected)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",  # 127.0.0.1 as one decimal
        "http://017700000001/",  # octal
        "http://0x7f000001/",  # hexadecimal
        "http://0x7f.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://8.8.8.8.8/",
        "http://256.1.1.1/",
        "http://1.2.3.0x/",
        "http://user@example.com/",
        "http://user:pw@example.com/",
        "http://@example.com/",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1#@example.com/",
        "http://example.com/#part",
        "http://example.com#",
        "http://example.com\\@127.0.0.1/",
        "http://example.com\\.evil.example/",
        "http://exa mple.com/",
        " http://example.com/",
        "http://example.com/\n",
        "http://exam\tple.com/",
        "http://example.com/\x00",
        "http://example.com\u2028/",
        "http://ex%61mple.com/",
        "http://127.0.0.1%2f@example.com/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:8o/",
        "http://example.com:80:80/",
        "http://[::1/",
        "http://::1/",
        "http://[fe80::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://[v1.x]/",
        "http:///path",
        "http://./",
        "http://..example.com/",
        "http://-a.example/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 127 + "example/",
        "http://example.com\uff0f.evil.example/",
        "http://xn--\u00fc.example/",
        "example.com/hook",
        "//example.com/hook",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "gopher://example.com/",
        "",
        "http://example.com/" + "x" * LONGEST_URL,
        "http://example.com/" + "ü" * (LONGEST_URL // 4),
    ],
)
def test_a_tricky_url_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        check_url(url, schemes=WEB, allowed=())
    assert "\n" not in str(refusal.value)


def test_what_the_operator_names_is_let_through_as_it_is_written() -> None:
    assert check_url("http://127.0.0.1:9/", schemes=WEB, allowed=LOOPBACK).port == 9
    assert check_url("http://localhost:9/", schemes=WEB, allowed=LOOPBACK).host == "localhost"
    for other in ("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://10.0.0.1/", "http://2130706433/"):
        with pytest.raises(Rejected):
            check_url(other, schemes=WEB, allowed=LOOPBACK)
    mapped = (ipaddress.ip_network("::ffff:0:0/96"),)
    assert check_url("http://[::ffff:127.0.0.1]/", schemes=WEB, allowed=mapped).host == "::ffff:7f00:1"


def test_credentials_stand_only_where_they_are_served() -> None:
    url = check_url("ftp://us%40er:p@w@Example.com/in/", schemes=("ftp",), allowed=(), credentials=True)
    assert (url.url, url.host, url.port) == ("ftp://us%40er:p@w@example.com/in/", "example.com", 21)


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443), ("rtmp", 1935), ("srt", None)])
def test_the_default_port_is_told(scheme: str, port: int | None) -> None:
    assert check_url(f"{scheme}://example.com/a", schemes=(scheme,), allowed=()).port == port


@given(st.text(max_size=60))
def test_no_text_breaks_the_check(text: str) -> None:
    for url in (text, f"http://{text}", f"http://example.com{text}"):
        try:
            checked = check_url(url, schemes=WEB, allowed=())
        except Rejected:
            continue
        assert checked.url.isascii()
        assert check_url(checked.url, schemes=WEB, allowed=()).url == checked.url


@given(st.ip_addresses())
def test_nothing_local_is_ever_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_reachable(address, ()):
        assert address.is_global
        assert not any((address.is_multicast, address.is_private, address.is_loopback, address.is_link_local))
        assert not address.is_reserved
