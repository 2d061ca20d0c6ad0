"""Clips as playlists of the recording's own segments, from the moment they are requested."""
