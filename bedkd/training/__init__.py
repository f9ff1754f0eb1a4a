"""Training and prediction: one accelerator, one training loop, one prediction loop."""
