"""Other vendors' APIs on the same domain: a folder per vendor."""
