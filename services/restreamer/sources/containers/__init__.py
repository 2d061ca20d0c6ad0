"""Containers: demuxing a file, describing its tracks, correcting its times."""
