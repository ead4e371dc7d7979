"""The pages on which runs and trajectories are looked at: a server over run directories, its JSON API, and an export to files.

The pages themselves are hand-written JavaScript in `static/`. Nothing here needs PyTorch, writes to a run other than the cache
`view.sqlite`, or reads a file outside the directories that it was given.
"""
