"""What runs inside the sandbox. It is started as a program by the sandbox's own Python and may import the standard library and
jeepney alone."""
