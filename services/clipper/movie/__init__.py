"""The MP4 file that a clip becomes."""
