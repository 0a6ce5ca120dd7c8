"""Convolutional encoders, one row each."""

from encoder_ablations.encoders.table.rows import DarkNetRow

ROWS: tuple[DarkNetRow, ...] = (
    DarkNetRow("darknet53", (1, 2, 8, 8, 4)),
    DarkNetRow("darknet53_in1k", (1, 2, 8, 8, 4), negative_slope=0.01, model="darknet53.c2ns_in1k"),
    DarkNetRow("darknet21", (1, 1, 1, 2, 1)),
    DarkNetRow("darknet17", (1, 1, 1, 1, 1)),
    DarkNetRow("darknet_tiny", (1, 1, 1, 1, 1), stem=16),
)
