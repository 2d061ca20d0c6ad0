"""FLV files of this machine, read without FFmpeg where they are usual (ADR 20)."""
