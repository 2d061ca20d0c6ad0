"""Where media bytes live: a local folder, or S3."""

from shared.store.base import MediaStore, ObjectInfo, StoreFull, open_store

__all__ = ["MediaStore", "ObjectInfo", "StoreFull", "open_store"]
