"""Questions with answers that a program can check: arithmetic, little programs, screens. An episode is one answer."""
