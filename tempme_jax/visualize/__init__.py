"""Pictures of merged tokens: `tempme visualize`."""
