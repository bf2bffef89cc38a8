# Nothing here is for Python; native code uses _segment.pxd.
