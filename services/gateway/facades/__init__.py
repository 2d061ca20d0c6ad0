"""Other vendors' APIs on the same domain: a folder a vendor."""
