"""REELAY_NATS_URL: one node or several, the credentials once, and never in what people are shown."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.broker.nodes import parse_nodes
from shared.runtime.settings import Settings

SECRET = "p0123456789"


@pytest.mark.parametrize(
    ("text", "urls", "login"),
    [
        ("nats://127.0.0.1:4222", ["nats://127.0.0.1:4222"], ("", "")),
        ("nats://a", ["nats://a:4222"], ("", "")),
        ("a:4222, b:4223 ,", ["nats://a:4222", "nats://b:4223"], ("", "")),
        (f"nats://u:{SECRET}@a,nats://u:{SECRET}@b", ["nats://a:4222", "nats://b:4222"], ("u", SECRET)),
        (f"nats://u:{SECRET}@a,b,c", ["nats://a:4222", "nats://b:4222", "nats://c:4222"], ("u", SECRET)),
        (f"tls://{SECRET}@a:1", ["tls://a:1"], (SECRET, "")),
        ("nats://[::1]:4222,nats://[::1]:4222", ["nats://[::1]:4222"], ("", "")),
        ("wss://a/,wss://b/", ["wss://a:443", "wss://b:443"], ("", "")),
    ],
)
def test_lists_are_read(text: str, urls: list[str], login: tuple[str, str]) -> None:
    nodes = parse_nodes(text)
    assert list(nodes.urls) == urls
    assert (nodes.user, nodes.password) == login
    assert nodes.several == (len(urls) > 1)
    assert SECRET not in nodes.shown
    assert SECRET not in repr(nodes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"http://u:{SECRET}@a", "number 1 is not a URL"),
        (f"nats://a,nats://u:{SECRET}@b:port", "number 2 is not a URL"),
        (f"nats://u:{SECRET}@a:0", "number 1 is not a URL"),
        (f"nats://u:{SECRET}@a,nats://v:{SECRET}@b", "the same users"),
        (f"nats://:{SECRET}@a", "a password is given without a user"),
        (f"nats://u:{SECRET}@a,ws://b", "cannot be mixed"),
        (",", "names no node"),
        (",".join(f"u:{SECRET}@n{n}" for n in range(17)), "more than 16"),
    ],
)
def test_what_is_no_list_is_refused_in_words_that_show_no_password(text: str, why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(nats_url=text)
    assert why in str(refused.value)
    assert SECRET not in str(refused.value)
