"""The exporter: files to the places where users want them."""
