"""The `reelay` command: runs all services on one machine, makes keys, shows the demo."""
