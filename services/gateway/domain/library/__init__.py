"""The files that clips were delivered to."""
