"""The clipper: the fast clip at once, then the frame-accurate one in its place."""
