"""The resources of REST v1: one noun each, with its shapes, its calls and their addresses."""
