"""What ``import encoder_ablations`` offers around runs: training, a finished run, a study."""
