"""Offline benchmarks: pictures with known answers and no environment. Their files and their scores; stages/benchmark.py asks."""
