"""The exporter: files to the destinations that users name."""
