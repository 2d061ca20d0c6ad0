"""Every message of Reelay, a file per domain."""
