"""Two studies side by side: which arms they share, how these differ, and by how much."""
