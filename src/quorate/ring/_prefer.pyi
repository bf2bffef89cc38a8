# Nothing for Python: Ring calls this module through its .pxd.
