"""Thoughts written before actions that are known: from an oracle's plan, by a teacher, from one's own failures (rung 10)."""
