"""Methods against each other, and the paper's tables: `tempme compare`."""
