"""Environments over HTTP: a server that lends them, and a client that is one."""
