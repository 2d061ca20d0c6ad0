"""The archiver: compacts the log of segments into index objects, and deletes recordings that have passed retention."""
