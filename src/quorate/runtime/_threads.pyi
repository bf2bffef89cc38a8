"""Native parts of a node; nothing here is for Python."""
