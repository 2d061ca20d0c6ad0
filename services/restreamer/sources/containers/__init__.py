"""What lies in a file: demuxing it, describing its tracks, its times."""
