"""Destinations as clients name them: what the exporter is told, what is shown, and what is refused with which field."""

import json
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import ValidationError

from services.gateway.domain.destinations.destinations import Destinations, NewDestination, Stored
from services.gateway.domain.destinations.options import BucketOptions
from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.domain.errors import Invalid
from shared.messages.credentials import CredentialRecord, CredentialType, credential_id
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec, export_id
from shared.security.secrets import Vault

VAULT = Vault(b"test")
CLIP = "0" * 32
NAME = f"goal-{CLIP}.mp4"


def record(name: str, kind: CredentialType, **fields: Any) -> CredentialRecord:
    return CredentialRecord(
        account="main", credential=credential_id(name), name=name, type=kind, public="u", created_ms=1, changed_ms=1,
        **fields,
    )  # fmt: skip


PIN = f"SHA256:{'a' * 43}"
STORED = Stored([
    record("bucket", "s3"), record("site", "ftp"), record("ssh", "sftp", host_key=PIN), record("web", "http"),
    record("cloud", "videocloud", account_id="123"), record("cloud without", "videocloud"), record("push", "rtmp"),
    record("tokens", "oauth"), record("unpinned", "sftp"), record("at home", "http", host="home.example.com"),
])  # fmt: skip


async def nobody(_account: str) -> Stored:
    return Stored()


MAKER = Destinations(VAULT, (ip_network("127.0.0.0/8"),), nobody)


def made(*asked: NewDestination, stored: Stored = STORED) -> tuple[DestinationSpec, ...]:
    return MAKER.of(CLIP, NAME, asked, stored)


def opened(token: str) -> str:
    return VAULT.decrypt(token, DESTINATION_PURPOSE) if token else ""


GOOD = [
    # as asked, credentials, type, what the exporter opens, what is shown (None: the same)
    ("s3://YOUR_BUCKET_NAME/file_name.mp4", "bucket", "s3", "s3://YOUR_BUCKET_NAME/file_name.mp4", None),
    ("s3://bucket", "bucket", "s3", f"s3://bucket/{NAME}", None),
    ("s3://bucket/", "bucket", "s3", f"s3://bucket/{NAME}", None),
    ("S3://bucket/a b/\u00fc/", "bucket", "s3", f"s3://bucket/a%20b/\u00fc/{NAME}",
     f"s3://bucket/a b/\u00fc/{NAME}"),
    ("s3://bucket/" + "\u00fc" * 512, "bucket", "s3", "s3://bucket/" + "\u00fc" * 512, None),
    ("s3://bucket/what?#%20.mp4", "bucket", "s3", "s3://bucket/what%3F%23%2520.mp4", "s3://bucket/what?#%20.mp4"),
    ("ftp://example.com", None, "ftp", f"ftp://example.com/{NAME}", None),
    ("ftp://u:p%40ss@Example.COM:2121/in/", None, "ftp", f"ftp://u:p%40ss@example.com:2121/in/{NAME}",
     f"ftp://example.com:2121/in/{NAME}"),
    ("ftps://example.com/a%20b.mp4", "site", "ftp", "ftps://example.com/a%20b.mp4", None),
    ("sftp://u@example.com//abs/x.mp4", "ssh", "sftp", "sftp://u@example.com//abs/x.mp4",
     "sftp://example.com//abs/x.mp4"),
    ("sftp://example.com/x.mp4", "ssh", "sftp", "sftp://example.com/x.mp4", None),
    ("https://u:p@example.com/up/?token=secret", "web", "http", f"https://u:p@example.com/up/{NAME}?token=secret",
     f"https://example.com/up/{NAME}"),
    ("http://127.0.0.1:80/x.mp4", None, "http", "http://127.0.0.1:80/x.mp4", None),
    ("https://example.com/x.mp4", "tokens", "http", "https://example.com/x.mp4", None),
    ("webdavs://example.com/dav/x.mp4", "web", "http", "webdavs://example.com/dav/x.mp4", None),
    ("ftp://[2001:4860:4860::8888]/x.mp4", None, "ftp", "ftp://[2001:4860:4860::8888]/x.mp4", None),
    ("file:///sub/dir/", None, "folder", f"file:///sub/dir/{NAME}", None),
    ("file:///x.mp4", None, "folder", "file:///x.mp4", None),
]  # fmt: skip


@pytest.mark.parametrize(("url", "credentials", "kind", "whole", "shown"), GOOD, ids=[g[0][:40] for g in GOOD])
def test_a_url_is_taken(url: str, credentials: str | None, kind: str, whole: str, shown: str | None) -> None:
    (spec,) = made(NewDestination("outputs[0]", url, None, credentials))
    assert (spec.type, opened(spec.url), spec.shown) == (kind, whole, shown or whole)
    assert (spec.credential, spec.export, spec.file_name) == (credentials or "", CLIP, NAME)
    assert url not in spec.url
    assert "p%40ss" not in repr(spec)
    assert spec.options == ""


BAD_URLS = [
    "", "example.com/x.mp4", "gopher://example.com/x", "rtmp://example.com/live/key", "javascript:alert(1)",
    "s3:bucket/key", "s3://ab/x.mp4", "s3://-bucket/x.mp4", "s3://key:secret@bucket/x.mp4", "s3://bu cket/x.mp4",
    "s3:///x.mp4",
    "s3://bucket/../x.mp4", "s3://bucket//x.mp4", "s3://bucket/" + "%" * 1024, "s3://bucket/a\nb.mp4",
    "s3://bucket/" + "x" * 1025, "s3://bucket/" + "\u00fc" * 600,
    "ftp://", "ftp:///x.mp4", "ftp://exa mple.com/x", "ftp://example.com/a b.mp4", "ftp://example.com:0/x",
    "ftp://example.com:70000/x", "ftp://example.com/x#y", "ftp://example.com/a%0d%0aDELE%20b",
    "ftp://u%0aQUIT@example.com/x",
    "ftp://example.com/../x", "sftp://u@example.com/a/%2e%2e/x", "http://169.254.169.254/x", "ftp://10.0.0.1/x",
    "https://localhost.example:x/", "http://2130706433/x", "https://example.com/" + "x" * 2048,
    "ftp://example.com/" + "x" * 2000 + "/", "http://example.com/a\\b",
    "file://host/x.mp4", "file://", "file:///a/../b.mp4", "file:///a/%2e%2e/b.mp4", "file:///a//b.mp4",
    "file:///a\\b.mp4", "file:///a\x00b", "file:///x.mp4?y", "file:///" + "x" * 256, "file:///" + "x" * 1025,
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda u: u[:40])
def test_a_url_that_leads_nowhere_is_refused_by_its_field(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        made(NewDestination("outputs[3].destinations[1]", url, None, "bucket" if url.startswith("s3") else None))
    assert [f.field for f in caught.value.faults] == ["outputs[3].destinations[1].url"]
    assert "secret" not in str(caught.value)


CREDENTIALS = [
    ("s3://bucket/x", "nobody", "no credentials of this name"), ("s3://bucket/x", "site", "of type ftp"),
    ("ftp://example.com/x", "bucket", "takes ftp"), ("sftp://example.com/x", "site", "takes sftp"),
    ("https://example.com/x", "cloud", "takes http"), ("webdav://example.com/x", "push", "takes http"),
    ("file:///x.mp4", "site", "takes none"), ("s3://bucket/x", None, "are missing"),
    ("sftp://example.com/x", None, "are missing"), ("sftp://u:p@example.com/x", None, "are missing"),
    ("sftp://example.com/x", "unpinned", "no host_key"), ("sftp://u:p@example.com/x", "unpinned", "no host_key"),
    ("https://example.com/x", "at home", "for the host home.example.com alone"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "credentials", "why"), CREDENTIALS)
def test_credentials_that_do_not_fit_are_refused(url: str, credentials: str | None, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        made(NewDestination("outputs[0]", url, None, credentials))
    assert caught.value.faults[0].field == "outputs[0].credentials"


def test_credentials_are_known_by_id_too_and_default_ones_are_left_to_the_exporter() -> None:
    (spec,) = made(NewDestination("", "s3://bucket/x", None, credential_id("bucket")))
    assert spec.credential == "bucket"
    (spec,) = made(NewDestination("", "s3://bucket/x"), stored=Stored([record("b", "s3", default_for_type=True)]))
    assert spec.credential == ""


def test_a_default_tells_an_sftp_servers_key_where_the_url_has_the_login() -> None:
    asked = NewDestination("", "sftp://u:p@example.com/x")
    (spec,) = made(asked, stored=Stored([record("b", "sftp", default_for_type=True, host_key=PIN)]))
    assert spec.credential == ""
    for fields, why in (({}, "no host_key"), ({"host": "other.example.com", "host_key": PIN}, "are missing")):
        with pytest.raises(Invalid, match=why):
            made(asked, stored=Stored([record("b", "sftp", default_for_type=True, **fields)]))


def test_several_destinations_have_their_own_exports_and_all_faults_are_told() -> None:
    asked = [
        NewDestination("d[0]", "s3://bucket/x", None, "bucket"), NewDestination("d[1]"),
        NewDestination("d[2]", "ftp://u:p@example.com/"), NewDestination("d[3]", "ftp://v:p@example.com/"),
    ]  # fmt: skip
    specs = made(*asked)
    assert [s.export for s in specs] == [export_id(CLIP, n) for n in range(4)]
    assert [s.type for s in specs] == ["s3", "library", "ftp", "ftp"]
    assert [s.type for s in made()] == ["library"]
    with pytest.raises(Invalid) as caught:
        made(*asked, NewDestination("d[4]"), NewDestination("d[5]", "x"), NewDestination("d[6]", "s3://bucket/y"))
    assert [f.field for f in caught.value.faults] == ["d[4]", "d[5].url", "d[6].credentials"]
    with pytest.raises(Invalid, match="at most 8"):
        made(*[NewDestination(f"d[{n}]", f"file:///{n}") for n in range(9)])


def test_options_of_buckets_reach_the_exporter_encrypted_and_fit_no_other_type() -> None:
    given = {
        "storage_class": "STANDARD_IA", "acl": "public-read", "sse": "aws:kms", "kms_key_id": "arn:aws:kms:x:1:key/2",
        "content_type": "video/mp4", "cache_control": "max-age=60", "metadata": {"match": "42"},
    }  # fmt: skip
    options = BucketOptions.model_validate(given)
    (spec,) = made(NewDestination("", "s3://bucket/x", None, "bucket", options))
    assert json.loads(opened(spec.options)) == given
    assert "match" not in spec.model_dump_json()
    with pytest.raises(Invalid, match="no option of ftp") as caught:
        made(NewDestination("outputs[0]", "ftp://example.com/x", None, None, BucketOptions(acl="private")))
    assert caught.value.faults[0].field == "outputs[0].acl"
    (spec,) = made(NewDestination("", "https://example.com/x", None, None, BucketOptions(content_type="video/mp4")))
    assert json.loads(opened(spec.options)) == {"content_type": "video/mp4"}


BAD_OPTIONS: list[dict[str, Any]] = [
    {"storage_class": "cold storage"}, {"acl": "everyone"}, {"sse": "rot13"}, {"kms_key_id": "x"},
    {"sse": "AES256", "kms_key_id": "x"}, {"content_type": "video"}, {"content_type": "a/b\r\nx: y"},
    {"cache_control": "a\nb"}, {"metadata": {"a b": "x"}}, {"metadata": {"a": "\u00fc"}},
    {"metadata": {"a": "x\r\ny: z"}},
    {"metadata": {"A": "1", "a": "2"}}, {"metadata": {str(n): "x" for n in range(33)}}, {"metadata": {"a": 5}},
    {"metadata": {"a": "x" * 1000, "b": "x" * 1000, "c": "x" * 100}}, {"metadata": []}, {"unknown": 1},
]  # fmt: skip


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BucketOptions.model_validate(options)


VIDEO = {"name": "One Minute Clip", "tags": ["live", "clip"]}


def test_a_video_reaches_the_exporter_in_the_platforms_words() -> None:
    given = {"video": {**VIDEO, "custom_fields": {"a": "b"}}, "ingest": {"capture-images": True, "profile": "p"}}
    asked = VideoCloud.model_validate(given)
    (spec,) = made(NewDestination("", None, asked, "cloud"))
    assert (spec.type, spec.url, spec.shown, spec.credential) == ("videocloud", "", "videocloud:123", "cloud")
    assert json.loads(opened(spec.options)) == given
    own = VideoCloud.model_validate({"account_id": "9", "video": VIDEO})
    (spec,) = made(NewDestination("", None, own, "cloud"))
    assert spec.shown == "videocloud:9"
    two = made(NewDestination("d[0]", None, asked, "cloud"), NewDestination("d[1]", None, asked, "cloud"))
    assert len(two) == 2
    for credentials, field in (("cloud without", "o.videocloud.account_id"), (None, "o.credentials")):
        with pytest.raises(Invalid) as caught:
            made(NewDestination("o", None, asked, credentials))
        assert caught.value.faults[0].field == field
    with pytest.raises(Invalid, match="excludes url"):
        made(NewDestination("o", "s3://bucket/x", asked, "cloud"))
    tracks = [{"url": f"https://example.com/{'x' * 2000}", "srclang": "en"}] * 20
    long = VideoCloud.model_validate({"video": VIDEO, "ingest": {"text_tracks": tracks}})
    with pytest.raises(Invalid, match="bytes as JSON"):
        made(NewDestination("o", None, long, "cloud"))


BAD_VIDEOS: list[tuple[dict[str, Any], str]] = [
    ({"video": {}}, "video.name"), ({"video": {"name": ""}}, "video.name"),
    ({"video": {"name": "x" * 249}}, "video.name"),
    ({"video": VIDEO | {"description": "x" * 249}}, "video.description"),
    ({"video": VIDEO | {"long_description": "x" * 5001}}, "video.long_description"),
    ({"video": VIDEO | {"reference_id": "x" * 151}}, "video.reference_id"),
    ({"video": VIDEO | {"reference_id": "a b"}}, "video.reference_id"),
    ({"video": VIDEO | {"reference_id": "a,b"}}, "video.reference_id"),
    ({"video": VIDEO | {"reference_id": ""}}, "video.reference_id"),
    ({"video": VIDEO | {"custom_fields": {"a": "x" * 1025}}}, "video.custom_fields.a"),
    ({"video": VIDEO | {"state": "PENDING"}}, "video.state"),
    ({"video": VIDEO | {"economics": "x"}}, "video.economics"),
    ({"video": VIDEO | {"colour": "red"}}, "video.colour"), ({"video": VIDEO | {"tags": "live"}}, "video.tags"),
    ({"video": VIDEO | {"cue_points": [{"time": -1, "type": "AD"}]}}, "video.cue_points.0.time"),
    ({"video": VIDEO | {"geo": {"countries": ["germany"]}}}, "video.geo.countries.0"),
    ({"video": VIDEO | {"schedule": {"starts_at": "tomorrow"}}}, "video.schedule.starts_at"),
    ({"video": VIDEO | {"link": {"url": "ftp://x"}}}, "video.link.url"),
    ({"video": VIDEO, "ingest": {"master": {"url": "https://example.com/x.mp4"}}}, "ingest.master"),
    ({"video": VIDEO, "ingest": {"master": ""}}, "ingest.master"),
    ({"video": VIDEO, "ingest": {"callbacks": ["x"]}}, "ingest.callbacks.0"),
    ({"video": VIDEO, "ingest": {"callbacks": "https://example.com"}}, "ingest.callbacks"),
    ({"video": VIDEO, "ingest": {"text_tracks": [{"srclang": "en"}]}}, "ingest.text_tracks.0.url"),
    (
        {"video": VIDEO, "ingest": {"audio_tracks": {"merge_with_existing": True}}},
        "ingest.audio_tracks.merge_with_existing",
    ),
    ({"video": VIDEO, "ingest": {"poster": {"url": "https://example.com/x", "width": 0}}}, "ingest.poster.width"),
    ({"video": VIDEO, "ingest": {"thumbnail": {}}}, "ingest.thumbnail.url"),
    ({"video": VIDEO, "ingest": {"speed": "fast"}}, "ingest.speed"), ({"ingest": {}}, "video"),
    ({"video": VIDEO, "account_id": "../x"}, "account_id"), ({"video": VIDEO, "other": 1}, "other"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "field"), BAD_VIDEOS, ids=[b[1] for b in BAD_VIDEOS])
def test_a_video_out_of_bounds_is_refused_by_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        VideoCloud.model_validate(given)
    assert ".".join(str(part) for part in caught.value.errors()[0]["loc"]) == field


@pytest.mark.parametrize("name", ["x" * 248, "\u00fc" * 248])
def test_a_video_within_bounds_is_taken(name: str) -> None:
    video = {
        "name": name, "description": "x" * 248, "long_description": "x" * 5000, "reference_id": "x" * 150,
        "custom_fields": {"a": "x" * 1024}, "state": "INACTIVE",
        "cue_points": [{"name": "a", "time": 1.5, "type": "AD"}],
        "geo": {"countries": ["DE"], "exclude_countries": True}, "schedule": {"ends_at": "2026-12-01T00:00:00Z"},
    }  # fmt: skip
    assert VideoCloud.model_validate({"video": video}).options()["video"] == video


WEB = "https://example.com"
TRACKS = {"merge_with_existing": False, "masters": [{"url": f"{WEB}/a.m4a", "language": "en", "variant": "dub"}]}
# Every field of the page's tables.
EVERY: dict[str, Any] = {
    "video": {
        **VIDEO, "ad_keys": "category=sports&live=true", "custom_fields": {"a": "b"}, "description": "d",
        "cue_points": [{"id": "5", "force_stop": False, "metadata": "x", "name": "pre", "time": 1.5, "type": "DATA"}],
        "economics": "FREE", "geo": {"countries": ["us", "GBR"], "exclude_countries": False, "restricted": True},
        "link": {"url": WEB, "text": "t"}, "long_description": "l", "offline_enabled": True,
        "projection": "equirectangular", "reference_id": "ref_1", "state": "ACTIVE",
        "schedule": {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-02-01T00:00:00.000Z"},
        "text_tracks": [{"src": f"{WEB}/x.vtt", "srclang": "en", "kind": "captions", "label": "e", "default": True}],
    },
    "ingest": {
        "audio_tracks": TRACKS, "profile": "5", "capture-images": True, "callbacks": [WEB],
        "text_tracks": [{"url": f"{WEB}/x.vtt", "srclang": "en", "kind": "chapters", "label": "e", "default": True}],
        "poster": {"url": f"{WEB}/p.jpg", "height": 720, "width": 1280},
        "thumbnail": {"url": f"{WEB}/t.jpg", "height": 90, "width": 160},
    },
}  # fmt: skip


def test_every_field_of_the_page_goes_to_the_platform_as_it_came() -> None:
    assert VideoCloud.model_validate(EVERY).options() == EVERY
    listed = {**EVERY, "ingest": {**EVERY["ingest"], "audio_tracks": [TRACKS]}}  # as the page's table has it
    assert VideoCloud.model_validate(listed).options() == EVERY
    with pytest.raises(ValidationError, match="audio_tracks"):
        VideoCloud.model_validate({"video": VIDEO, "ingest": {"audio_tracks": [TRACKS, TRACKS]}})
