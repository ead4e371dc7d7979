"""OSWorld's tasks, from its own task files."""
