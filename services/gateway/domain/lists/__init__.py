"""Lists of records in order."""
