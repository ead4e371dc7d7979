"""A person's mouse and keyboard as a trajectory: events of an X server, merged into actions, each with the screen before it."""
