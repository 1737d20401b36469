"""The commands of `tempme`, one file for each group."""
