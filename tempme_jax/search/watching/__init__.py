"""Watch a folder, and index what comes."""
