"""Where media bytes live: a local folder, or S3."""

from shared.store.base import MediaStore, ObjectInfo, StoreFull

__all__ = ["MediaStore", "ObjectInfo", "StoreFull"]
