"""What is kept of a delivery to Video Cloud, for its next try."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

from services.exporter.destinations.base import SourceFile, Transfer


@dataclass(frozen=True, slots=True)
class Note:
    """How far a delivery is: the video, its upload, the URL that ingest reads, when it was asked, and its job.

    `since_ms`: since when it waits for other jobs of the video; `failures`: looks at its job that failed in a row.
    """

    video: str = ""
    made: bool = False
    upload: str = ""
    master: str = ""
    size: int = 0
    sha256: str = ""
    asked_ms: int = 0
    before: list[str] = field(default_factory=list)
    job: str = ""
    since_ms: int = 0
    failures: int = 0

    @classmethod
    def read(cls, text: str, file: SourceFile | None = None) -> Note:
        """Return a kept note; of another file, only the video counts."""
        try:
            found = json.loads(text) if text else {}
            note = cls(**{name: found[name] for name in cls.__slots__ if name in found})
        except (ValueError, TypeError):
            return cls()
        same = file is None or (note.size, note.sha256) == (file.size, file.sha256)
        return note if same else cls(video=note.video, made=note.made)


class Part:
    """The upload's view of a delivery: its note is a part of ours."""

    def __init__(self, transfer: Transfer, note: Note) -> None:
        self.resume = note.upload
        self._transfer = transfer
        self._note = note

    async def sent(self, total: int) -> None:
        """Tell the delivery."""
        await self._transfer.sent(total)

    async def keep(self, resume: str) -> None:
        """Keep the upload's note in the delivery's."""
        self.resume = resume
        await keep(self._transfer, replace(self._note, upload=resume))


async def keep(transfer: Transfer, note: Note) -> None:
    """Keep a note; a URL with a query may be signed, and is not kept."""
    kept = replace(note, master="") if "?" in note.master else note
    await transfer.keep(json.dumps({name: value for name, value in asdict(kept).items() if value}))
