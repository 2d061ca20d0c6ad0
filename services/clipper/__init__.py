"""The clipper: makes the fast clip at once, then replaces it with the frame-accurate one."""
