"""What training sees of a sample."""

import numpy as np

Crop = tuple[np.ndarray, np.ndarray]
"""An image 3×h×w uint8 (RGB) and its mask h×w."""
