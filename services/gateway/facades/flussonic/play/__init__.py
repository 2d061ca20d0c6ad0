"""Who may play a stream that has a backend: sessions, the questions about them, and how many a user may have."""
