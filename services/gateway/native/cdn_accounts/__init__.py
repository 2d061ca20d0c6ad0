"""Accounts of the CDNetworks API in /v1."""
