"""The REST API, each answer held to the published schema."""
