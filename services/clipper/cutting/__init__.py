"""Frame-accurate cutting of recorded segments into MP4 clips.

`plan_cut` chooses the frames, `cut_fast` copies whole segments, `cut_exact` makes the clip as requested and encodes
only what it must, and `verify_clip` checks a clip before it is published.
"""

from services.clipper.cutting.cut import CutPart, CutResult, cut_exact, cut_fast
from services.clipper.cutting.joined import join_plans, parts_of
from services.clipper.cutting.plan import Candidate, CutPlan, plan_cut
from services.clipper.cutting.verify import verify_clip
from shared.media.seams.errors import ClipFaulty, CutError, EmptyCut, MixedConfigs, SegmentUnreadable, Stopped
from shared.media.seams.source import CutSource, Run, Segment

__all__ = [
    "Candidate",
    "ClipFaulty",
    "CutError",
    "CutPart",
    "CutPlan",
    "CutResult",
    "CutSource",
    "EmptyCut",
    "MixedConfigs",
    "Run",
    "Segment",
    "SegmentUnreadable",
    "Stopped",
    "cut_exact",
    "cut_fast",
    "join_plans",
    "parts_of",
    "plan_cut",
    "verify_clip",
]
