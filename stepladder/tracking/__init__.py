"""Measurements of a run sent on to TensorBoard, Weights & Biases, trackio, or a tracker of one's own."""
