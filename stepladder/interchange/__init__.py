"""Trajectories from and to the formats that people already have. One file a format; stages/convert.py is the command."""
