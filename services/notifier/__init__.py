"""The notifier: tells receivers of webhooks what happened, in order, until they say that they have it."""
