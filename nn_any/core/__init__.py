"""Arrays in, arrays out: the maths, which knows no device, no library and no state."""
