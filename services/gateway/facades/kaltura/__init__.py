"""The Kaltura media server API as a facade."""
