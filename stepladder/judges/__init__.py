"""Models that look at episodes: whether one reached its goal, and which tasks could be asked next. Any `Policy` can be asked."""
