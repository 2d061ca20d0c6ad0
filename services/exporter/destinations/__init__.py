"""Where files are delivered: a file for each kind of destination."""
