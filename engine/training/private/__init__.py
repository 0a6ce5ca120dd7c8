"""Private training (DP-SGD): samples, gradients of single images, noise, and the accountant."""
