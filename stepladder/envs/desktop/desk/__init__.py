"""The task set `desk`: everyday work on pocket desktops. Each module holds the tasks of one application."""
