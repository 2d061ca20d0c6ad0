"""The exporter: delivers files to the destinations that users name."""
