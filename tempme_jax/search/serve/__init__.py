"""The search page and its API: `tempme serve`."""
