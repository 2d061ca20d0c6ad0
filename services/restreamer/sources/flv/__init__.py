"""Local FLV files, read without FFmpeg when they have the usual form (ADR 20)."""
