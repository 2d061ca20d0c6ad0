"""Reasons why a clip cannot be cut. All are permanent: the same request fails again on the same recording."""

from __future__ import annotations

from pathlib import Path

from shared.errors import MediaError


class CutError(MediaError):
    """The range cannot be cut as requested."""


class EmptyCut(CutError):  # noqa: N818  names the result
    """Nothing was recorded in the range."""


class SegmentUnreadable(CutError):  # noqa: N818  names the finding
    """A segment is missing, is no fragmented MP4, or ends before its time; `path` is the file."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"segment {path.name}: {why}")
        self.path = path


class MixedConfigs(CutError):  # noqa: N818  names the finding
    """The range joins streams that one track cannot hold without encoding; an exact cut can join them."""


class Stopped(CutError):  # noqa: N818  names the event
    """The stop event was set before the clip was complete; nothing was written."""


class ClipFaulty(CutError):  # noqa: N818  names the finding
    """A written clip's content is wrong."""
