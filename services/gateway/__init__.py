"""The gateway: REST API, media downloads, HLS, webhooks' registration, API keys."""
