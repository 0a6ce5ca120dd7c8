"""Settings of a Mask2Former in Detectron2 that trains in seconds, as text of a command line."""

HEAD, FORMER, OURS = "MODEL.SEM_SEG_HEAD", "MODEL.MASK_FORMER", "MODEL.ENCODER_ABLATIONS"
SMALL = {
    f"{OURS}.WEIGHTS": "random",
    f"{OURS}.CHANNELS": "32",
    f"{HEAD}.CONVS_DIM": "32",
    f"{HEAD}.MASK_DIM": "32",
    f"{HEAD}.TRANSFORMER_ENC_LAYERS": "1",
    f"{FORMER}.HIDDEN_DIM": "32",
    f"{FORMER}.DIM_FEEDFORWARD": "32",
    f"{FORMER}.NUM_OBJECT_QUERIES": "6",
    f"{FORMER}.DEC_LAYERS": "2",
    f"{FORMER}.TRAIN_NUM_POINTS": "64",
    "INPUT.CROP.SIZE": "(64, 64)",
    "INPUT.MIN_SIZE_TRAIN": "(64, 80)",
    "INPUT.MIN_SIZE_TEST": "64",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "4",
    "SOLVER.BASE_LR": "0.003",
    "TEST.EVAL_PERIOD": "2",
    "DATALOADER.NUM_WORKERS": "0",
}
