"""Files played out as live."""
