"""Exports: the deliveries of files to their destinations."""
