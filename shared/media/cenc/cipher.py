"""AES-CTR on samples: encrypting and decrypting are the same (ISO/IEC 23001-7, 9.3 and 9.5)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from shared.media.cenc.key import IV_SIZE
from shared.media.cenc.subsamples import Subsample

Bytes = bytes | bytearray | memoryview


class SampleCipher:
    """Applies a key to samples. One thread at a time may use it."""

    def __init__(self, key: bytes) -> None:
        self._context = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def whole(self, iv: bytes, data: Bytes) -> bytes:
        """Return a sample that is encrypted whole, the other way round."""
        self._context.reset_nonce(iv.ljust(2 * IV_SIZE, b"\0"))
        return self._context.update(data)

    def parts(self, iv: bytes, data: Bytes, subsamples: Sequence[Subsample]) -> bytes:
        """Return a sample whose subsamples have clear and protected bytes: the latter are one chain of blocks."""
        self._context.reset_nonce(iv.ljust(2 * IV_SIZE, b"\0"))
        made, at = [], 0
        for clear, protected in subsamples:
            made.append(data[at : at + clear])
            at += clear
            if protected:
                made.append(self._context.update(data[at : at + protected]))
                at += protected
        made.append(data[at:])
        return b"".join(made)
