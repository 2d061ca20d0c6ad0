"""Common Encryption, scheme `cenc` (ISO/IEC 23001-7): AES-CTR on samples of MP4 files, whose boxes stay readable."""
