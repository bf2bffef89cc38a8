"""Native parts of the store; nothing here is for Python."""
