"""Pictures on their way: copied, encoded, at seams."""
