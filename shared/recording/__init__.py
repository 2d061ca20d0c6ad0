"""The index of a recording: numbered segments in closed hours' objects and in the tail of SEGMENTS."""

from shared.recording.hours import IndexDamaged
from shared.recording.load import RecordingPart, last_segment, load_range

__all__ = ["IndexDamaged", "RecordingPart", "last_segment", "load_range"]
