"""Vision transformers, one row each."""

from encoder_ablations.encoders.table.rows import ViTRow

ROWS: tuple[ViTRow, ...] = (
    # CLIP: Radford et al., ICML 2021
    ViTRow("clip_b32", "vit_base_patch32_clip_quickgelu_224.openai", "CLIP"),
    ViTRow("clip_b16", "vit_base_patch16_clip_quickgelu_224.openai", "CLIP"),
    ViTRow(
        "clip_l14", "vit_large_patch14_clip_quickgelu_224.openai", "CLIP", grid="resampled_patch"
    ),
    ViTRow(
        "clip_l14_336",
        "vit_large_patch14_clip_quickgelu_336.openai",
        "CLIP",
        grid="resampled_patch",
    ),
    # SigLIP: Zhai et al., ICCV 2023
    ViTRow("siglip_b16", "vit_base_patch16_siglip_224.webli", "SigLIP", activation="gelu_tanh"),
    ViTRow("siglip_l16", "vit_large_patch16_siglip_256.webli", "SigLIP", activation="gelu_tanh"),
    # SigLIP 2: Tschannen et al., 2025
    ViTRow(
        "siglip2_b16", "vit_base_patch16_siglip_224.v2_webli", "SigLIP 2", activation="gelu_tanh"
    ),
    ViTRow(
        "siglip2_l16", "vit_large_patch16_siglip_256.v2_webli", "SigLIP 2", activation="gelu_tanh"
    ),
    # DINOv2: Oquab et al., TMLR 2024
    ViTRow("dinov2_s14", "vit_small_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    ViTRow("dinov2_b14", "vit_base_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    ViTRow("dinov2_l14", "vit_large_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    # DINOv2 + registers: Darcet et al., ICLR 2024
    ViTRow(
        "dinov2_reg_s14",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    ViTRow(
        "dinov2_reg_b14",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    ViTRow(
        "dinov2_reg_l14",
        "vit_large_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    # DINOv3: Siméoni et al., 2025
    ViTRow("dinov3_s16", "vit_small_patch16_dinov3.lvd1689m", "DINOv3"),
    ViTRow("dinov3_b16", "vit_base_patch16_dinov3.lvd1689m", "DINOv3"),
    ViTRow("dinov3_l16", "vit_large_patch16_dinov3.lvd1689m", "DINOv3"),
    # MAE: He et al., CVPR 2022
    ViTRow("mae_b16", "vit_base_patch16_224.mae", "MAE"),
    ViTRow("mae_l16", "vit_large_patch16_224.mae", "MAE"),
    # ViT, supervised: Steiner et al., TMLR 2022
    ViTRow("vit_ti16", "vit_tiny_patch16_224.augreg_in21k", "ViT, supervised"),
)
