"""The supervisor's files in DATA_DIR: the lock of the one stack that may use it, and run.json."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ValidationError

from services.cli.errors import StackError

LOCK_FILE: Final = "up.lock"
RUN_FILE: Final = "run.json"

State = Literal["running", "waiting", "stopped"]


class RunProcess(BaseModel):
    """A supervised process; `pid` 0 while it does not run. `health_port` answers /healthz and /readyz."""

    pid: int
    state: State
    restarts: int
    health_port: int = 0


class RunFile(BaseModel):
    """run.json: what runs now. It holds the broker's password, so only its owner can read it."""

    pid: int
    nats_url: str
    ports: dict[str, int]
    processes: dict[str, RunProcess]


class DataDirLock:
    """Keeps a second stack out of a folder; the kernel releases the lock when this process ends in any way."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock; StackError when another stack has it or the folder cannot be used."""
        self._path = data_dir / LOCK_FILE
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StackError(f"cannot use {data_dir} (REELAY_DATA_DIR): {error.strerror}") from error
        if not _locked(self._file, fcntl.LOCK_EX, tries=10):
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StackError(
                f"another stack (process {holder}) uses {data_dir}: stop it, or set REELAY_DATA_DIR to another folder"
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock, so that another stack can start."""
        os.close(self._file)


def _locked(file: int, how: int, tries: int) -> bool:
    """Try to lock and return whether it worked; a reader of run.json may hold the lock for a moment."""
    for _ in range(tries):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def write_run_file(data_dir: Path, run: RunFile) -> None:
    """Write run.json atomically, readable by its owner only."""
    path = data_dir / RUN_FILE
    draft = path.with_suffix(".new")
    with open(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(run.model_dump_json(indent=1) + "\n")
    draft.replace(path)


def remove_run_file(data_dir: Path) -> None:
    """Remove run.json."""
    with contextlib.suppress(FileNotFoundError):
        (data_dir / RUN_FILE).unlink()


def read_run_file(data_dir: Path) -> RunFile:
    """Return run.json of the stack that runs on `data_dir`; StackError when none does."""
    nothing = StackError(f"no stack runs on {data_dir} (REELAY_DATA_DIR); `make up` starts one")
    try:
        run = RunFile.model_validate_json((data_dir / RUN_FILE).read_bytes())
        lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except (OSError, ValidationError) as error:
        raise nothing from error
    try:
        if _locked(lock, fcntl.LOCK_SH, tries=1):  # run.json was left by a stack that was killed
            raise nothing
    finally:
        os.close(lock)
    return run
