"""Bodies of requests and answers about stored credentials."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class CredentialPut(BaseModel):
    """Credentials of a bucket of the user's own."""

    type: Literal["s3"] = "s3"
    access_key: str = Field(min_length=1, max_length=256)
    secret_key: str = Field(min_length=1, max_length=1024)
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,64}$")
    endpoint: str = Field("", max_length=2048, description="http(s) URL of an S3 server other than AWS")


class CredentialView(BaseModel):
    """Stored credentials without their secret."""

    name: str
    type: Literal["s3"]
    access_key: str
    region: str
    endpoint: str
    created_at: int
    modified_at: int


class CredentialList(BaseModel):
    """An account's credentials."""

    credentials: list[CredentialView]
