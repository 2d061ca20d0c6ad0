"""Files of encrypted recordings, decrypted as they are read: no clear copy of them lies on a disk."""

from __future__ import annotations

from pathlib import Path, PosixPath

from shared.errors import Rejected
from shared.media.cenc.clear import PROBE, clear_segment, segment_kid
from shared.media.cenc.key import ContentKey
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.errors import SegmentUnreadable
from shared.security.content_keys import KeyFor, folder_of
from shared.store.base import ObjectMissing


class SealedPath(PosixPath):
    """The path of an encrypted segment, and its key. Its boxes can be read as they are, its samples by `clear`."""

    key: ContentKey | None = None

    def clear(self) -> bytes:
        """Return the decrypted file; SegmentUnreadable when its boxes are damaged, OSError."""
        if self.key is None:
            raise SegmentUnreadable(self, "is encrypted, and its key is not known")
        try:
            return clear_segment(self.read_bytes(), self.key.key)
        except Mp4Error as error:
            raise SegmentUnreadable(self, str(error)) from error


def unsealed(path: Path, key: str, keys: KeyFor | None) -> Path:
    """Return the path of a segment, by which it is decrypted if it is encrypted; Rejected without its key.

    ObjectMissing, OSError. `key` is the segment's in the store.
    """
    try:
        with path.open("rb", buffering=0) as file:
            kid = segment_kid(file.read(PROBE))
    except FileNotFoundError as error:
        raise ObjectMissing(f"{key} is not in the store") from error
    if not kid:
        return path
    if keys is None:
        raise Rejected("the recording is encrypted")
    sealed = SealedPath(path)
    sealed.key = keys(folder_of(key), kid)
    return sealed
