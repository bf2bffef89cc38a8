# Nothing here is for Python; native code uses _chunks.pxd.
