"""The scheduler: everything that happens at a set time. The broker's message schedules keep the time."""
