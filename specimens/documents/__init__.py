"""Paper: reports and labels, drawn from plain values. No database here."""
