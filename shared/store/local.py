"""Media in a local folder."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from shared.errors import Permanent, Unavailable
from shared.store.base import MediaStore, ObjectInfo, ObjectMissing, StoreFull, check_key

TRIES: Final = 100


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"{key} is not in the store") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull("no room is left in the store") from error
        raise Unavailable(f"the store failed: {os.strerror(error.errno or 0)}") from error


def _info(key: str, info: os.stat_result) -> ObjectInfo:
    version = f"{info.st_ino}-{info.st_size}-{info.st_mtime_ns}"
    return ObjectInfo(key, info.st_size, info.st_mtime_ns // 1_000_000, version)


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _insisting(work: Callable[[], None]) -> None:
    """Run what makes a name in a folder again when somebody deletes its last object, and so the folder, meanwhile."""
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # pathlib finds it there, and then gone
            return work()
    return work()


class LocalStore(MediaStore):
    """A folder below which each key is a path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.root / check_key(key)

    def begin(self, key: str) -> Path:
        """Return the object's own file: what is written is visible at once, part by part."""
        path = self.path(key)
        with _translated(key):
            _insisting(lambda: path.parent.mkdir(parents=True, exist_ok=True))
        return path

    def commit(self, key: str) -> None:
        """Sync the file and its folder's list of names to the disk, so that no record outlives the file it names."""
        path = self.path(key)
        with _translated(key):
            _sync(path)
            _sync(path.parent)

    def put(self, key: str, data: bytes) -> None:
        """Write a draft beside the file, then rename it."""
        path = self.path(key)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")

        def begun() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.touch()

        with _translated(key):
            try:
                _insisting(begun)
                draft.write_bytes(data)
                _sync(draft)
                draft.replace(path)
                _sync(path.parent)
            finally:
                draft.unlink(missing_ok=True)

    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read the whole file."""
        with _translated(key), self.path(key).open("rb") as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise Permanent(f"{key} is larger than {limit} bytes")
            return file.read()

    def read(self, key: str, offset: int, length: int, *, chunk: int = 1 << 18, version: str = "") -> Iterator[bytes]:
        """Read a range of the file; it stays readable when it is removed meanwhile."""
        with _translated(key), self.path(key).open("rb", buffering=0) as file:
            if version and _info(key, os.fstat(file.fileno())).version != version:
                raise ObjectMissing(f"{key} is another object now")
            file.seek(offset)
            while length > 0 and (piece := file.read(min(chunk, length))):
                length -= len(piece)
                yield piece

    def info(self, key: str) -> ObjectInfo | None:
        """Return the file's status; None when there is none."""
        try:
            with _translated(key):
                return _info(key, self.path(key).stat())
        except ObjectMissing:
            return None

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Yield the object's own file."""
        path = self.path(key)
        with _translated(key):
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileNotFoundError(path)
        yield path

    def copy(self, source: str, key: str) -> None:
        """Link the file under the other name, as objects do not change; copy it where links are not possible."""
        path = self.path(key)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")

        def linked() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.path(source), draft)

        with _translated(source):
            try:
                try:
                    _insisting(linked)
                except FileNotFoundError:
                    raise
                except OSError:  # another file system, or one without links
                    shutil.copyfile(self.path(source), draft)
                    _sync(draft)
                draft.replace(path)
                _sync(path.parent)
            finally:
                draft.unlink(missing_ok=True)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Walk the folder, and skip drafts (names that begin with a dot).

        Unavailable when a folder cannot be read, so that it is not taken for an empty one.
        """
        base = self.path(prefix)

        def failed(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):  # those two mean that nothing is there
                raise Unavailable(f"the store failed: {os.strerror(error.errno or 0)}") from error

        for folder, names, files in os.walk(base, onerror=failed):
            names.sort()
            for name in sorted(files):
                if name.startswith("."):
                    continue
                file = Path(folder, name)
                key = str(file.relative_to(self.root))
                if key <= after:
                    continue
                try:
                    with _translated(key):
                        found = file.stat()
                except ObjectMissing:  # removed since the folder was read
                    continue
                yield _info(key, found)

    def delete(self, key: str, *, version: str = "") -> None:
        """Remove the file and the folders that it leaves empty."""
        path = self.path(key)
        if version and ((info := self.info(key)) is None or info.version != version):
            raise ObjectMissing(f"{key} is another object now")
        try:
            with _translated(key):
                path.unlink()
        except ObjectMissing:
            return
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone
                break

    def check(self, name: str, *, writes: bool) -> None:
        """Write, read back and remove a small file, whose name lists skip; or list the folder."""
        key, path = f"ready/{name}", self.root / f".ready-{name}-{secrets.token_hex(4)}"
        with _translated(key):
            if not writes:
                with contextlib.suppress(FileNotFoundError), os.scandir(self.root) as entries:  # nothing recorded yet
                    next(entries, None)
                return
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(path.name)
                if path.read_text() != path.name:
                    raise Unavailable("the store does not give what it took")
            finally:
                path.unlink(missing_ok=True)
