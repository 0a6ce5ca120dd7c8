"""Trained models as files that run elsewhere: ONNX, PyTorch's exported programs, transformers."""
