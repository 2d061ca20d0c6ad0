"""m3u8 media playlists as sources."""
