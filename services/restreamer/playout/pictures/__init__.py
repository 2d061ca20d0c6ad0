"""The output's pictures: copied, encoded, or joined at seams."""
