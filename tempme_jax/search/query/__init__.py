"""From a query to moments of videos: `tempme search`."""
