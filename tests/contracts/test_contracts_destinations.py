"""What the gateway takes as a destination's options is what the exporter reads: they share no model."""

from __future__ import annotations

from typing import Any

import pytest

from services.exporter.destinations.s3 import _written_with
from services.gateway.domain.destinations.options import OPTIONS, BucketOptions

ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "storage_class": ("STANDARD_IA", {"StorageClass": "STANDARD_IA"}),
    "acl": ("private", {"ACL": "private"}),
    "sse": ("AES256", {"ServerSideEncryption": "AES256"}),
    "kms_key_id": ("alias/ours", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/ours"}),
    "content_type": ("video/quicktime", {"ContentType": "video/quicktime"}),
    "cache_control": ("no-store", {"CacheControl": "no-store"}),
    "content_disposition": ("attachment", {"ContentDisposition": "attachment"}),
    "metadata": ({"cup": "final"}, {"Metadata": {"cup": "final"}}),
}


def test_all_are_known() -> None:
    assert set(ASKED) == OPTIONS


@pytest.mark.parametrize("name", sorted(ASKED))
def test_one_reaches_the_bucket(name: str) -> None:
    value, arguments = ASKED[name]
    more = {"sse": "aws:kms"} if name == "kms_key_id" else {}
    document = BucketOptions.model_validate({name: value, **more}).model_dump(exclude_none=True)
    assert _written_with(document) == arguments
