"""RTMP target URLs: application and name as platforms mean them, and what people are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Rejected
from shared.rtmp.address import RtmpUrl, split_rtmp
from shared.security.netguard import check_url


def read(url: str) -> RtmpUrl:
    return split_rtmp(check_url(url, schemes=("rtmp", "rtmps"), allowed=(), credentials=True).url)


@pytest.mark.parametrize(
    ("url", "app", "name", "shown"),
    [
        ("rtmp://h.tv/live/KEY", "live", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/KEY/", "live", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/KEY/more", "live/KEY", "more", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/KEY/more?x=/y", "live/KEY", "more?x=/y", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live//KEY", "live", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv//live/KEY//", "live", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/app/inst/KEY", "app/inst", "KEY", "rtmp://h.tv/app/***"),
        ("rtmp://h.tv/app//inst/KEY", "app/inst", "KEY", "rtmp://h.tv/app/***"),
        ("rtmp://h.tv/live/KEY?a=b&c=d", "live", "KEY?a=b&c=d", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/KEY/?a=b", "live", "KEY?a=b", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/app/inst/KEY?sign=a/b=&c=d", "app/inst", "KEY?sign=a/b=&c=d", "rtmp://h.tv/app/***"),
        ("rtmp://b.h.tv/live2?backup=1/KEY", "live2?backup=1", "KEY", "rtmp://b.h.tv/live2/***"),
        ("rtmp://b.h.tv/live2?backup=1/KEY/", "live2?backup=1", "KEY", "rtmp://b.h.tv/live2/***"),
        ("rtmp://b.h.tv/live2?backup=1/KEY?x=y/z", "live2?backup=1", "KEY?x=y/z", "rtmp://b.h.tv/live2/***"),
        ("rtmp://h.tv/live?path=a/b/KEY", "live?path=a/b", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/kLive/?p=1&t=tok/0_x", "kLive/?p=1&t=tok", "0_x", "rtmp://h.tv/kLive/***"),
        ("rtmps://h.tv/rtmp/KEY", "rtmp", "KEY", "rtmps://h.tv/rtmp/***"),
        ("rtmps://h.tv:443/rtmp/KEY", "rtmp", "KEY", "rtmps://h.tv:443/rtmp/***"),
        ("RTMP://H.TV:1936/live/KEY", "live", "KEY", "rtmp://h.tv:1936/live/***"),
        ("rtmp://[2a00:1450::1]:1936/live/KEY", "live", "KEY", "rtmp://[2a00:1450::1]:1936/live/***"),
        ("rtmp://h.tv/live/mp4:KEY.mp4", "live", "mp4:KEY.mp4", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/a%2Fb%20c", "live", "a%2Fb%20c", "rtmp://h.tv/live/***"),
        ("rtmp://h.tv/live/%20KEY%0A", "live", "KEY", "rtmp://h.tv/live/***"),
        ("rtmp://me:pw@h.tv/live/KEY", "live", "KEY", "rtmp://***@h.tv/live/***"),
    ],
)
def test_a_url_is_read_as_platforms_mean_it(url: str, app: str, name: str, shown: str) -> None:
    found = read(url)
    assert (found.app, found.name, found.shown) == (app, name, shown)
    assert read(found.url) == found, "the kept spelling means the same"
    assert "KEY" not in repr(found)


def test_user_and_password_are_decoded() -> None:
    found = read("rtmp://me%40x:p%3Aw%2F@h.tv/live/KEY")
    assert (found.user, found.password) == ("me@x", "p:w/")
    assert "p:w/" not in repr(found)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rtmp://h.tv", "host/application/stream"),
        ("rtmp://h.tv/", "host/application/stream"),
        ("rtmp://h.tv/live", "host/application/stream"),
        ("rtmp://h.tv/live/", "host/application/stream"),
        ("rtmp://h.tv//live//", "host/application/stream"),
        ("rtmp://h.tv/live?key=a", "host/application/stream"),
        ("rtmp://h.tv/live?backup=1/", "host/application/stream"),
        ("rtmp://h.tv/live/%20", "host/application/stream"),
        ("rtmp://h.tv/?a=b/KEY", "host/application/stream"),
        ("rtmp://me@h.tv/live/KEY", "comes with a password"),
        ("rtmp://:pw@h.tv/live/KEY", "comes with a password"),
        ("rtmp://@h.tv/live/KEY", "comes with a password"),
        ("rtmp://h.tv/live/my KEY", "must not contain blanks"),
        ("rtmp://h.tv/live/KEY#1", "fragment"),
        ("rtmp://h.tv:0/live/KEY", "port"),
    ],
)
def test_what_is_no_target_is_refused_in_words(url: str, why: str) -> None:
    with pytest.raises((ValueError, Rejected), match=why) as refused:
        read(url)
    assert "KEY" not in str(refused.value)


@given(st.text("ab/?=&%20:.", max_size=40))
def test_any_path_is_read_or_refused(path: str) -> None:
    try:
        found = read(f"rtmp://h.tv/{path}")
    except (ValueError, Rejected):
        return
    assert found.app
    assert found.name.partition("?")[0]
    assert read(found.url) == found
