"""Where the curves of a training go: a file, TensorBoard, trackers."""
