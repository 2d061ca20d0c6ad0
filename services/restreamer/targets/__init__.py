"""Targets: RTMP, RTMPS and SRT, all fed from one reader (ADR 14)."""

from services.restreamer.targets.outputs import Targets
from services.restreamer.targets.rules import TargetRules

__all__ = ["TargetRules", "Targets"]
