"""Vision transformers, one row each."""

from encoder_ablations.encoders.table.rows import ViTRow

ROWS: tuple[ViTRow, ...] = (
    # CLIP: Radford et al., ICML 2021
    ViTRow(
        "clip_b32",
        "vit_base_patch32_clip_quickgelu_224.openai",
        "CLIP",
        text="openai/clip-vit-base-patch32",
    ),
    ViTRow(
        "clip_b16",
        "vit_base_patch16_clip_quickgelu_224.openai",
        "CLIP",
        text="openai/clip-vit-base-patch16",
    ),
    ViTRow(
        "clip_l14",
        "vit_large_patch14_clip_quickgelu_224.openai",
        "CLIP",
        grid="resampled_patch",
        text="openai/clip-vit-large-patch14",
    ),
    ViTRow(
        "clip_l14_336",
        "vit_large_patch14_clip_quickgelu_336.openai",
        "CLIP",
        grid="resampled_patch",
        text="openai/clip-vit-large-patch14-336",
    ),
    # SigLIP: Zhai et al., ICCV 2023
    ViTRow(
        "siglip_b16",
        "vit_base_patch16_siglip_224.webli",
        "SigLIP",
        activation="gelu_tanh",
        text="google/siglip-base-patch16-224",
    ),
    ViTRow(
        "siglip_l16",
        "vit_large_patch16_siglip_256.webli",
        "SigLIP",
        activation="gelu_tanh",
        text="google/siglip-large-patch16-256",
    ),
    # SigLIP 2: Tschannen et al., 2025
    ViTRow(
        "siglip2_b16",
        "vit_base_patch16_siglip_224.v2_webli",
        "SigLIP 2",
        activation="gelu_tanh",
        text="google/siglip2-base-patch16-224",
    ),
    ViTRow(
        "siglip2_l16",
        "vit_large_patch16_siglip_256.v2_webli",
        "SigLIP 2",
        activation="gelu_tanh",
        text="google/siglip2-large-patch16-256",
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
    # DeiT III: Touvron et al., ECCV 2022
    ViTRow("deit3_b16", "deit3_base_patch16_224.fb_in22k_ft_in1k", "DeiT III"),
    # SAM: Kirillov et al., ICCV 2023. Blocks are read, not the neck behind them. timm's position
    # rule, because SAM's own code does not resize.
    ViTRow("sam_b16", "samvit_base_patch16.sa1b", "SAM"),
    # Perception Encoder: Bolya et al., 2025
    ViTRow("pe_core_b16", "vit_pe_core_base_patch16_224.fb", "PE core"),
    ViTRow("pe_spatial_b16", "vit_pe_spatial_base_patch16_512.fb", "PE spatial"),
    # TIPSv2, after TIPS: Maninis et al., ICLR 2025
    ViTRow(
        "tipsv2_b14",
        "vit_base_patch14_reg1_tipsv2.webli",
        "TIPSv2",
        grid="resampled_patch",
        text="google/tipsv2-b14",
    ),
    ViTRow(
        "tipsv2_l14",
        "vit_large_patch14_reg1_tipsv2.webli",
        "TIPSv2",
        grid="resampled_patch",
        text="google/tipsv2-l14",
    ),
    # EVA-02: Fang et al., Image and Vision Computing 2024; masked image modelling only
    ViTRow("eva02_b14", "eva02_base_patch14_224.mim_in22k", "EVA-02", grid="resampled_patch"),
    # AIMv2: Fini et al., CVPR 2025. timm's position rule, because the authors' code does not resize
    ViTRow("aimv2_l14", "aimv2_large_patch14_224.apple_pt", "AIMv2", grid="resampled_patch"),
    # BEiT-3: Wang et al., CVPR 2023; masked data modelling only
    ViTRow("beit3_b16", "beit3_base_patch16_224.pt", "BEiT-3"),
    # C-RADIOv3: Heinrich et al., CVPR 2025 (RADIOv2.5), and Ranzinger et al., CVPR 2024. timm's
    # NaFlex model holds the authors' position rule; its vit_base_patch16_radio_v3 does not.
    ViTRow("cradio_v3_b16", "naflexvit_base_patch16_radio_v3.c_radio", "C-RADIOv3"),
    # SigLIP 2 NaFlex: Tschannen et al., 2025
    ViTRow("siglip2_naflex_b16", "naflexvit_base_patch16_siglip.v2_webli", "SigLIP 2 NaFlex"),
)
