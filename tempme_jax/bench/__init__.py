"""Speeds and costs: `tempme bench`."""
