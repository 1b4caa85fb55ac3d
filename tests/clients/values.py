"""Values that sessions of clients keep."""


def vector(seed):
    """A vector of 1024 floats as an application keeps it: 4 KiB, all byte values, another one for each seed."""
    return bytes((i + seed * 31 + (i >> 8)) & 0xFF for i in range(4096))
