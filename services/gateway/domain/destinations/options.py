"""Options of buckets, as clients write them and as the exporter reads them."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_METADATA: Final = 2048
"""Bytes of all names and values together: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1024}")
Acl = Literal[
    "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
    "bucket-owner-full-control",
]  # fmt: skip


class BucketOptions(BaseModel):
    """How a file is stored in a bucket; what is absent is the bucket's own choice."""

    model_config = ConfigDict(extra="forbid")

    storage_class: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]{0,63}$", description="s3: as STANDARD_IA")
    acl: Acl | None = Field(None, description="s3: a canned ACL")
    sse: Literal["AES256", "aws:kms"] | None = Field(None, description="s3: encryption by the server")
    kms_key_id: str | None = Field(None, pattern=r"^[!-~]{1,2048}$", description="s3: the key of sse aws:kms")
    content_type: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][!-~]{0,62}/[!-~][ -~]{0,126}$", description="s3, http"
    )
    cache_control: str | None = Field(None, pattern=r"^[!-~][ -~]{0,255}$", description="s3: the header's value")
    content_disposition: str | None = Field(None, pattern=r"^[!-~][ -~]{0,255}$", description="s3: the header's value")
    metadata: dict[str, str] | None = Field(
        None, max_length=32, description="s3: names of letters, digits, . - and _, values of ASCII; 2 KiB together"
    )

    @field_validator("metadata")
    @classmethod
    def _fitting(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        lowered = {name.lower() for name in value or ()}
        if len(lowered) != len(value or ()) or not all(_NAME.fullmatch(name) for name in value or ()):
            raise ValueError("names have 1 to 64 letters, digits, . - or _, and differ by more than their case")
        if not all(_VALUE.fullmatch(text) for text in (value or {}).values()):
            raise ValueError("values have at most 1024 characters, those of ASCII")
        if sum(len(name) + len(text) for name, text in (value or {}).items()) > MOST_METADATA:
            raise ValueError(f"must have at most {MOST_METADATA} bytes")
        return value

    @model_validator(mode="after")
    def _key_of_kms(self) -> Self:
        if self.kms_key_id is not None and self.sse != "aws:kms":
            raise ValueError("kms_key_id goes with sse aws:kms")
        return self


OPTIONS: Final = frozenset(BucketOptions.model_fields)
