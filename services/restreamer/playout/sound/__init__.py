"""Sound on its way: copied, encoded, silence."""
