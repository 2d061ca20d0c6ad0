"""What a facade stores for its callbacks is what its form in the notifier reads: no model is shared between them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway.domain.receivers import Receivers
from services.gateway.domain.restreams.parts import Parts
from services.gateway.domain.subscriptions.contexts import Contexts
from services.gateway.facades.cdnetworks import translate
from services.gateway.facades.cdnetworks.models import ForwardRequest
from services.gateway.facades.flussonic import exports, sinks
from services.gateway.facades.flussonic.export_models import ExportAsk
from services.notifier.events import Happening
from services.notifier.forms import FORMS
from shared.messages.clips import ClipStateChanged
from shared.messages.restream_commands import Order, RestreamCommand
from shared.messages.restreams import RestreamFileStarted, RestreamStateChanged
from shared.security.secrets import Vault
from shared.security.webhooks import open_url

VAULT = Vault(b"contract-test")
ABOUT: dict[str, Any] = {"account": "main", "restream": "4" * 32, "run": 1, "number": 1, "at_ms": 1}
FILE = RestreamFileStarted(**ABOUT, item=0, loop=0, shown="a.mp4", how="copied")
SRC = [{"url": "http://example.com/a.mp4"}]


def unreachable() -> Any:
    raise AssertionError("nothing is stored")


def document_of(cmd: str, **extra: Any) -> dict[str, Any]:
    """Translate a call, and give what is stored."""
    raw = {
        "cmd": cmd, "type": "video", "transcallbackurl": "http://example.com/",
        "list": [{"id": "7", "src": SRC, "forward": [{"url": "rtmp://example.com/live/key"}], **extra}],
    }  # fmt: skip

    def make(account: str, restream: str, order: Order) -> RestreamCommand:
        return RestreamCommand(account=account, restream=restream, command="c" * 32, at_ms=1, order=order)

    parts, receivers = Parts(VAULT, ()), Receivers((), VAULT)
    translator = translate.Translator("main", parts, Contexts(unreachable, VAULT), receivers, make, 1)
    (order,) = translator.orders(ForwardRequest.model_validate(raw), raw)
    assert order.context is not None
    told = order.command.subscription
    assert told is not None
    assert (told.form, told.context) == (translate.FORM, order.context.context)
    return json.loads(order.context.model_dump_json())["document"]  # type: ignore[no-any-return]  # as it is stored


@pytest.mark.parametrize("cmd", ["1", "2", "3", "5"])
def test_the_form_reads_what_the_facade_says(cmd: str) -> None:
    form, ended = FORMS[translate.FORM], Happening(RestreamStateChanged(**ABOUT, state="ended"), 1, 1)
    document = document_of(cmd)
    assert form.applies(ended, document)
    body = json.loads(form.body(ended, document, lambda sealed: open_url(VAULT, sealed)).posted)
    assert (body["id"], body["cmd"], json.loads(body["srcurl"])) == ("7", "1" if cmd == "2" else cmd, SRC)


@pytest.mark.parametrize("flag", [1, 0])
def test_the_form_tells_files_as_the_call_before_a_resume_asked_for(flag: int) -> None:
    form, happening = FORMS[translate.FORM], Happening(FILE, 1, 1)
    asked = document_of("1", extendParam={"callBackFileInfo": flag})
    assert form.applies(happening, asked) == bool(flag)
    assert form.applies(happening, asked | document_of("5")) == bool(flag)


def test_an_event_sink_is_told_what_the_facade_says_of_an_export() -> None:
    form, job = FORMS[sinks.VENDOR], {"name": "cam", "from": 1_730_205_876_000, "duration": 4000, "path": "a.mp4"}
    note = exports.note_of("3c44825225164950a1f6fa2c7e8f4cb1", ExportAsk.model_validate(job), "trace")
    for state, event in zip(("cancelled", "failed", "finished", "processing"), sinks.EVENTS, strict=True):
        told = ClipStateChanged(
            account="main", clip="4" * 32, event="5" * 32, state=state, at_ms=1, revision=1, note=note
        )  # fmt: skip
        happening = Happening(told, 7, 1)
        given = sinks.SinkConfig.model_validate({"url": "http://x", "only": [{"event": [event], "media": ["c*"]}]})
        assert form.applies(happening, sinks.options_of(given, {}))
        given = sinks.SinkConfig.model_validate({"url": "http://x", "except": [{"event": [event]}]})
        assert not form.applies(happening, sinks.options_of(given, {}))
        (said,) = json.loads(form.body(happening, {"server": "http://tv.example.com:80"}, str).posted)
        assert said["export_id"] == "3c448252-2516-4950-a1f6-fa2c7e8f4cb1"
        assert (said["event"], said["media"], said["server"]) == (event, "cam", "tv.example.com")
        assert {key: said[key] for key in ("from", "duration", "path")}.items() <= job.items()
