"""The gateway's domain logic in neutral values: no HTTP, no settings, no vendor's names."""
