"""Convolutional and hierarchical encoders, one row each."""

from encoder_ablations.encoders.table.rows import DarkNetRow, HierarchicalRow, UNetRow

ROWS: tuple[DarkNetRow | UNetRow | HierarchicalRow, ...] = (
    DarkNetRow("darknet53", (1, 2, 8, 8, 4)),
    DarkNetRow("darknet53_in1k", (1, 2, 8, 8, 4), negative_slope=0.01, model="darknet53.c2ns_in1k"),
    DarkNetRow("darknet21", (1, 1, 1, 2, 1)),
    DarkNetRow("darknet17", (1, 1, 1, 1, 1)),
    DarkNetRow("darknet_tiny", (1, 1, 1, 1, 1), stem=16),
    # without a neck; the head unet_plain makes it a whole U-Net
    UNetRow("unet", (64, 128, 256, 512, 1024)),
    UNetRow("unet_tiny", (8, 16, 32, 64, 128)),
    # ResNet: He et al., CVPR 2016. torchvision's first weights are those from which Detectron2 and
    # the official Mask2Former start.
    HierarchicalRow("resnet50", "resnet50.tv_in1k", "ResNet"),
    HierarchicalRow("resnet101", "resnet101.tv_in1k", "ResNet"),
    # ConvNeXt: Liu et al., CVPR 2022. The paper's best segmenters start from ImageNet-22k.
    HierarchicalRow("convnext_b", "convnext_base.fb_in22k", "ConvNeXt"),
    # DINOv3, distilled: Siméoni et al., 2025
    HierarchicalRow("dinov3_convnext_t", "convnext_tiny.dinov3_lvd1689m", "DINOv3 ConvNeXt"),
    HierarchicalRow("dinov3_convnext_b", "convnext_base.dinov3_lvd1689m", "DINOv3 ConvNeXt"),
    # Swin: Liu et al., ICCV 2021. The weights of the official Mask2Former with Swin-B.
    HierarchicalRow("swin_b", "swin_base_patch4_window12_384.ms_in22k", "Swin"),
    # SAM 2.1's image encoder: Ravi et al., 2024
    HierarchicalRow("sam2_hiera_bplus", "sam2_hiera_base_plus.fb_r896_2pt1", "SAM 2 Hiera"),
    # EfficientNet-Lite: Liu, 2020. Only the tf_ model has the padding that the weights expect.
    HierarchicalRow("efficientnet_lite0", "tf_efficientnet_lite0.in1k", "EfficientNet-Lite"),
)
