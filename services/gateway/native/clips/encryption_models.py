"""Encrypted clips in requests and answers; ours, not Brightcove's."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_HEX = r"^[0-9a-fA-F]{32}$"


class EncryptionAsk(BaseModel):
    """Encrypt the files of a clip with a key of yours: any player that has it plays them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    scheme: Literal["cenc"] = Field("cenc", description="Common Encryption, AES-CTR")
    kid: str = Field(pattern=_HEX, description="The id by which the file names the key: 32 hex digits")
    key: SecretStr = Field(description="32 hex digits; never shown again")

    @field_validator("key")
    @classmethod
    def _of_16_bytes(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if len(text) != 32 or not set(text.lower()) <= set("0123456789abcdef"):
            raise ValueError("must have 32 hex digits")
        return value


class EncryptionView(BaseModel):
    """How the files of a clip are encrypted; the key is not shown."""

    scheme: Literal["cenc"]
    kid: str
