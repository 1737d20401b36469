"""Video files to frames, in child processes where the files are not trusted."""
