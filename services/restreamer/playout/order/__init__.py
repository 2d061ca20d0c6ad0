"""What plays, and what comes next."""
