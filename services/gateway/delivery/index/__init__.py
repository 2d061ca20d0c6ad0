"""The index of a recording, kept current for players."""
