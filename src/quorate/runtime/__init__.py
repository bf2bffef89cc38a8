"""A running node: the native loop, its connections, and what the threads of Python ask of it.

Knows the protocol, the storage and the store, and nothing of clients or of sessions' keep-alive.
docs/internals/runtime.md tells which thread owns what.
"""

__all__: list[str] = []
