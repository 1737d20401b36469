"""The version of the way in which files are read."""

# It grows whenever times or pixels change. Version 1 is that of all indexes that name none.
READING_VERSION = 3
