"""The check of the installation, `tempme doctor`; that of data sets is in `datasets.check`."""
