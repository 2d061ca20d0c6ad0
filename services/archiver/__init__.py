"""The archiver: compacts the log of segments into index objects, and deletes what has passed retention."""
