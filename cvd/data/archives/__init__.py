"""Zips, names and first bytes that are not trusted."""
