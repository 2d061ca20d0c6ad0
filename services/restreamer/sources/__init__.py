"""Sources of restreams: from an entry of a list to packets on the file's own time (docs/adr/0014-playout.md).

`open_media` opens any source, with an `Access`. FFmpeg demuxes and never opens anything itself.
"""

from services.restreamer.sources.access import Access, Limits, Spool, Stopped
from services.restreamer.sources.opening import Sources, open_media, open_picture
from services.restreamer.sources.pictures import PictureCache, StillImage
from services.restreamer.sources.ranges import resolve_range

__all__ = [
    "Access",
    "Limits",
    "PictureCache",
    "Sources",
    "Spool",
    "StillImage",
    "Stopped",
    "open_media",
    "open_picture",
    "resolve_range",
]
