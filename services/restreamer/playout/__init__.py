"""From a list of files to units on one timeline, at the pace of the clock (ADR 14)."""

from services.restreamer.playout.player import Playout
from services.restreamer.playout.terms import Ended, FileStarted, Library, Report, Reporter, Snapshot, Started, Warned

__all__ = ["Ended", "FileStarted", "Library", "Playout", "Report", "Reporter", "Snapshot", "Started", "Warned"]
