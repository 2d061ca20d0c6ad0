"""Partners of the Kaltura API in /v1."""
