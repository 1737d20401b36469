"""Making an index of videos: `tempme index`."""
