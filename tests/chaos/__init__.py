"""The chaos suite: the whole service under load, struck at random moments (docs/chaos.md)."""
