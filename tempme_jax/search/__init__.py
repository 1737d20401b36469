"""Searching your own videos by text: indexing, storing, querying and serving."""
