"""What every route shares: problem bodies, JSON bodies, limits, paging, the server."""
