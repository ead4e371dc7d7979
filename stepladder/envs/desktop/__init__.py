"""Pocket desktops: an X server, a window manager, a private message bus and applications in one sandbox."""
