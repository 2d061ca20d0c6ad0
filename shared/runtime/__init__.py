"""What every service runs on: settings, clocks, logs, health."""
