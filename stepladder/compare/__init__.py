"""Two policies side by side, on the starts (task and seed) that both have played. Needs no PyTorch."""
