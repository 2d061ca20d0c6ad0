"""Reelay's own API, /v1: a folder a domain."""
