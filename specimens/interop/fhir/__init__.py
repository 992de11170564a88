"""FHIR R4 (4.0.1): resources as plain dicts, made of a report's content; no database inside."""
