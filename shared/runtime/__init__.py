"""The runtime of every service: settings, clocks, logs, health."""
