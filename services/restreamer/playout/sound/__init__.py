"""The output's sound: copied, encoded, or silence."""
