"""Decodes a PNG from its input to RGBA at its output, with little memory and time: `python -m ...png_child`."""

from __future__ import annotations

import io
import resource
import sys
from typing import Final

import av

MOST_MEMORY: Final = 2 << 30
MOST_CPU_S: Final = 15


def main() -> None:
    """Decode; any error ends the process with a traceback that nobody reads."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    data = io.BytesIO(sys.stdin.buffer.read())
    with av.open(data, "r", format="png_pipe", options={"protocol_whitelist": "none"}) as opened:
        opened.streams.video[0].codec_context.thread_count = 1
        frame = next(opened.decode(video=0))
        sys.stdout.buffer.write(frame.reformat(format="rgba", threads=1).to_ndarray().tobytes())


if __name__ == "__main__":
    main()
