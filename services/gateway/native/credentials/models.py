"""Bodies of requests and answers about stored credentials; names are Brightcove's, with ours of S3 beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.identity.credential_rules import fit_label
from shared.messages.credentials import CredentialType, Tls

_SYNONYMS: Final = (
    ("credential_label", "name"), ("credential_type", "type"), ("credential_public", "access_key"),
    ("credential_private", "secret_key"),
)  # fmt: skip


Label = Annotated[str, AfterValidator(fit_label)]


class OauthSettings(BaseModel):
    """Where tokens are had."""

    url: str = Field(min_length=1, max_length=2048)


class CredentialFields(BaseModel):
    """What credentials consist of."""

    model_config = ConfigDict(extra="ignore")

    credential_label: Label | None = None
    name: Label | None = Field(None, description="As credential_label")
    credential_type: CredentialType | None = None
    type: CredentialType | None = Field(None, description="As credential_type")
    credential_public: str | None = Field(
        None, min_length=1, max_length=1024, description="User, access key or client id"
    )
    access_key: str | None = Field(None, min_length=1, max_length=1024, description="As credential_public")
    credential_private: str | None = Field(
        None, max_length=16_000, description="Password, secret key, private key or client secret; never returned"
    )
    secret_key: str | None = Field(None, min_length=1, max_length=16_000, description="As credential_private")
    credential_default_for_type: bool | None = Field(
        None, description="Used where a destination of this type names none; one for each type"
    )
    endpoint: str | None = Field(None, max_length=2048, description="s3: http(s) URL of a server other than AWS")
    region: str | None = Field(None, max_length=64, description="s3")
    path_style: bool | None = Field(None, description="s3: bucket in the path; absent: where an endpoint is named")
    session_token: str | None = Field(None, max_length=4096, description="s3: of temporary keys; never returned")
    host_key: str | None = Field(None, max_length=8192, description="sftp: the server's public key, or SHA256:...")
    tls: Tls | None = Field(None, description="ftp: explicit, implicit, unverified or implicit-unverified")
    host: str | None = Field(
        None, max_length=253, description="ftp, http, oauth, sftp: the only host that they are sent to"
    )
    account_id: str | None = Field(None, max_length=32, description="videocloud: the account that clips go to")
    oauth_settings: OauthSettings | None = Field(None, description="oauth: where tokens are had")

    @model_validator(mode="after")
    def _one_name_for_each(self) -> Self:
        for theirs, ours in _SYNONYMS:
            found = {getattr(self, theirs), getattr(self, ours)} - {None}
            if len(found) > 1:
                raise ValueError(f"{theirs} and {ours} are the same, and differ here: name one")
        return self

    @property
    def label(self) -> str | None:
        """The name that is asked for."""
        return self.credential_label if self.credential_label is not None else self.name

    @property
    def is_whole(self) -> bool:
        """Whether both keys are given in our own words: then all of S3's values are set."""
        return self.access_key is not None and self.secret_key is not None

    def given(self) -> Mapping[str, Any]:
        """Return the values that were given, by the names of CredentialValues."""
        found = {
            "type": self.credential_type or self.type,
            "public": self.credential_public or self.access_key,
            "private": self.credential_private if self.credential_private is not None else self.secret_key,
            "default_for_type": self.credential_default_for_type,
            "url": self.oauth_settings.url if self.oauth_settings else None,
        }
        same = ("endpoint", "region", "path_style", "session_token", "host_key", "tls", "host", "account_id")
        found |= {name: getattr(self, name) for name in same}
        return {name: value for name, value in found.items() if value is not None}


class CredentialCreate(CredentialFields):
    """New credentials."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.label is None:
            raise ValueError("credential_label is missing")
        if self.credential_type is None and self.type is None:
            raise ValueError("credential_type is missing")
        return self


class CredentialPut(CredentialFields):
    """Changes of credentials: what is absent stays."""


class OauthShown(BaseModel):
    """Where tokens are had, without user, password and query."""

    url: str


class CredentialView(BaseModel):
    """Stored credentials without their secrets."""

    credential_id: str
    credential_label: str
    credential_type: CredentialType
    credential_public: str
    credential_private: str = Field(description="Masked: the last two characters at most")
    credential_default_for_type: bool
    user_id: str = Field(description="The account")
    endpoint: str
    region: str
    path_style: bool | None
    session_token: str = Field(description="Masked")
    host_key: str
    tls: Tls
    host: str
    account_id: str
    oauth_settings: OauthShown | None
    name: str = Field(description="As credential_label")
    type: CredentialType = Field(description="As credential_type")
    access_key: str = Field(description="As credential_public")
    created_at: int
    modified_at: int


class CredentialList(BaseModel):
    """An account's credentials."""

    user_id: str = Field(description="The account")
    credentials: list[CredentialView]


class CredentialTrial(BaseModel):
    """Where credentials are tried: nothing is left there."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, min_length=1, max_length=2048, description="As of an output; not for videocloud")
    videocloud: VideoCloud | None = None
    account_id: str | None = Field(None, pattern=r"^[0-9]{1,32}$", description="videocloud: in place of its own")


class CredentialTrialResult(BaseModel):
    """What the trial came to."""

    worked: bool
    error: str = Field("", description="What is wrong, by the destination's own words")
