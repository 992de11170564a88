"""Reads. Everything starts at `visible_to`; nothing here writes."""
