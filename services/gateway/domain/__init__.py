"""What the gateway does, in neutral values: no HTTP, no settings, no vendor's names."""
