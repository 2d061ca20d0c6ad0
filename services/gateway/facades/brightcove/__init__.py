"""Brightcove's Live API, for keys with the dialect `brightcove`: the paths of /v1, its own bodies."""
