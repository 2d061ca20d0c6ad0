"""Local mp4 files, read without FFmpeg when they have the usual form (ADR 20)."""
