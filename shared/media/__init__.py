"""Media: probing, segments, timeline and cutting; synchronous code, run in threads or processes."""
