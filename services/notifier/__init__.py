"""The notifier: sends events to receivers of webhooks, in order, until they accept them."""
