"""The scheduler: everything that happens at a time. It keeps no clock; the broker's message schedules do."""
