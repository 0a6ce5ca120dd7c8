"""Convolutional and hierarchical encoders, one row each."""

from encoder_ablations.encoders.table.rows import DarkNetRow, HierarchicalRow

ROWS: tuple[DarkNetRow | HierarchicalRow, ...] = (
    DarkNetRow("darknet53", (1, 2, 8, 8, 4)),
    DarkNetRow("darknet53_in1k", (1, 2, 8, 8, 4), negative_slope=0.01, model="darknet53.c2ns_in1k"),
    DarkNetRow("darknet21", (1, 1, 1, 2, 1)),
    DarkNetRow("darknet17", (1, 1, 1, 1, 1)),
    DarkNetRow("darknet_tiny", (1, 1, 1, 1, 1), stem=16),
    # ResNet: He et al., CVPR 2016
    HierarchicalRow("resnet50", "resnet50.tv_in1k", "ResNet"),
    # EfficientNet-Lite: Liu, 2020. Only the tf_ model has the padding that the weights expect.
    HierarchicalRow("efficientnet_lite0", "tf_efficientnet_lite0.in1k", "EfficientNet-Lite"),
)
