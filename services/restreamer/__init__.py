"""The restreamer: recordings played out as live channels."""
