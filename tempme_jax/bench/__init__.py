"""Measurements of speed: `tempme bench`."""
