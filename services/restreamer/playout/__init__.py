"""Turns a list of files into units on one timeline and sends them in real time (ADR 14)."""

from services.restreamer.playout.player import Playout
from services.restreamer.playout.terms import Ended, FileStarted, Library, Report, Reporter, Snapshot, Started, Warned

__all__ = ["Ended", "FileStarted", "Library", "Playout", "Report", "Reporter", "Snapshot", "Started", "Warned"]
