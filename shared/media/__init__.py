"""Media: probing, segments, timeline and cutting; synchronous code, to be run in threads or processes."""
