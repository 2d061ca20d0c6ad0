"""Where in a bucket a file goes, and what is kept of an upload that has not ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class S3Object:
    """A key of a bucket, and what an object there is written with (arguments of boto3's put_object)."""

    bucket: str
    key: str
    written_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """Bucket and key, as boto3's operations take them."""
        return {"Bucket": self.bucket, "Key": self.key}


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of an unfinished upload: enough to go on with the same file, and with no other."""

    upload: str
    part: int
    size: int
    sha256: str
    key: str

    @property
    def text(self) -> str:
        """The note as it is kept."""
        return json.dumps(
            {"upload": self.upload, "part": self.part, "size": self.size, "sha256": self.sha256, "key": self.key}
        )

    @classmethod
    def read(cls, text: str) -> Note | None:
        """Return a kept note; None when there is none."""
        try:
            found = json.loads(text) if text else None
            return cls(**{name: found[name] for name in cls.__slots__}) if isinstance(found, dict) else None
        except (ValueError, KeyError):
            return None
