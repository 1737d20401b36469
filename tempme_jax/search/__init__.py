"""Searching folders of videos by what they show."""
