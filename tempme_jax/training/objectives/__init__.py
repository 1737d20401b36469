"""What training minimises: base.py, one file per objective, and their table."""
