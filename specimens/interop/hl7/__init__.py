"""HL7 v2.5.1 over MLLP: orders in, results out. Plain data and sockets; no database here."""
