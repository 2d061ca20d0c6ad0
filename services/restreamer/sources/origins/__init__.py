"""Where a file's bytes come from: HTTP, S3, this machine."""
