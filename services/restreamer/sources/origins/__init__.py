"""Origins of a file's bytes: HTTP, S3, this machine."""
