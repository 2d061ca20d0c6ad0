"""The restreamer: recordings played out as live channels. It takes no work yet."""
