"""What people import: nodes, clients, operations. The names are exported by `quorate` itself."""
