"""Finds libsrt, loads it once per process, and declares the functions that Reelay calls.

libsrt runs its own threads from srt_startup to srt_cleanup. Cleanup happens at exit, before the interpreter
ends, so that no thread of libsrt can call back into an interpreter that is gone.
"""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import os
import threading
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_uint32, c_void_p
from typing import Any, Final

from shared.srt.constants import ERROR, LOG_CRIT, Errno
from shared.srt.errors import SrtError, SrtUnavailable

# Debian and Ubuntu have libsrt with either TLS library. With OpenSSL it decrypts without the processor's AES
# instructions (AES_encrypt, block by block): an encrypted stream takes a third more CPU than with GnuTLS (bench_srt).
SONAMES: Final = (
    "libsrt-gnutls.so.1.5",
    "libsrt.so.1.5",
    "libsrt-openssl.so.1.5",
    "libsrt-gnutls.so.1.4",
    "libsrt.so.1.4",
    "libsrt-openssl.so.1.4",
    "libsrt-gnutls.so",
    "libsrt.so",
)
INSTALL_COMMAND: Final = "sudo apt-get install -y libsrt1.5-gnutls"
OLDEST: Final = 0x010402  # 1.4.2 brought srt_setrejectreason

ListenCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_void_p, c_char_p)

_PROTOTYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "srt_startup": (c_int, []),
    "srt_cleanup": (c_int, []),
    "srt_getversion": (c_uint32, []),
    "srt_setloglevel": (None, [c_int]),
    "srt_create_socket": (c_int, []),
    "srt_bind": (c_int, [c_int, c_char_p, c_int]),
    "srt_listen": (c_int, [c_int, c_int]),
    "srt_listen_callback": (c_int, [c_int, ListenCallback, c_void_p]),
    "srt_accept": (c_int, [c_int, c_void_p, POINTER(c_int)]),
    "srt_connect": (c_int, [c_int, c_char_p, c_int]),
    "srt_close": (c_int, [c_int]),
    "srt_getsockname": (c_int, [c_int, c_void_p, POINTER(c_int)]),
    "srt_getsockflag": (c_int, [c_int, c_int, c_void_p, POINTER(c_int)]),
    "srt_setsockflag": (c_int, [c_int, c_int, c_void_p, c_int]),
    "srt_sendmsg2": (c_int, [c_int, c_char_p, c_int, c_void_p]),
    "srt_recvmsg": (c_int, [c_int, c_void_p, c_int]),
    "srt_getsockstate": (c_int, [c_int]),
    "srt_bistats": (c_int, [c_int, c_void_p, c_int, c_int]),
    "srt_getrejectreason": (c_int, [c_int]),
    "srt_setrejectreason": (c_int, [c_int, c_int]),
    "srt_getlasterror": (c_int, [POINTER(c_int)]),
    "srt_getlasterror_str": (c_char_p, []),
}


class SrtLibrary:
    """A loaded libsrt: its functions as attributes of `c`, its version, and its last error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.c: Any = ctypes.CDLL(name)
        for function, (result, arguments) in _PROTOTYPES.items():
            declared = getattr(self.c, function)
            declared.restype = result
            declared.argtypes = arguments
        self.version: int = self.c.srt_getversion()

    @property
    def version_text(self) -> str:
        """The version as text, such as 1.5.1."""
        return f"{self.version >> 16}.{self.version >> 8 & 0xFF}.{self.version & 0xFF}"

    def last_error(self, doing: str) -> SrtError:
        """Return the error of this thread's last failed call."""
        system = c_int()
        code = int(self.c.srt_getlasterror(ctypes.byref(system)))
        text = (self.c.srt_getlasterror_str() or b"").decode("utf-8", "replace")
        why = f" ({os.strerror(system.value)})" if system.value > 0 else ""
        return SrtError(f"{doing}: {text}{why}", code)

    def last_code(self) -> int:
        """Return the SRT_ERRNO of this thread's last failed call."""
        return int(self.c.srt_getlasterror(None))


_lock = threading.Lock()
_loaded: SrtLibrary | None = None


def load() -> SrtLibrary:
    """Return the process's libsrt, loaded and started by the first call; raise SrtUnavailable when there is none."""
    global _loaded  # noqa: PLW0603  there is one libsrt per process
    with _lock:
        if _loaded is None:
            _loaded = _start(find())
        return _loaded


def find(sonames: Sequence[str] = SONAMES) -> SrtLibrary:
    """Open the first usable library of those names, without starting it; raise SrtUnavailable when there is none."""
    problems: list[str] = []
    for name in sonames:
        try:
            library = SrtLibrary(name)
        except (OSError, AttributeError) as error:  # missing, or too old to have a function
            problems.append(str(error))
            continue
        if library.version >= OLDEST:
            return library
        problems.append(f"{name} is {library.version_text}, older than 1.4.2")
    found = ctypes.util.find_library("srt") or ctypes.util.find_library("srt-gnutls")
    hint = f" (found but not usable: {found}; {problems[0]})" if found and problems else ""
    raise SrtUnavailable(f"SRT needs libsrt, which this machine lacks{hint}. Install it: {INSTALL_COMMAND}")


def _start(library: SrtLibrary) -> SrtLibrary:
    library.c.srt_setloglevel(LOG_CRIT)  # its warnings would go to stderr; ours are log events
    if library.c.srt_startup() == ERROR:
        raise SrtError("srt_startup failed", Errno.UNKNOWN)
    owner = os.getpid()

    def cleanup() -> None:
        if os.getpid() == owner:  # a forked child has none of libsrt's threads to end
            library.c.srt_cleanup()

    atexit.register(cleanup)
    return library
