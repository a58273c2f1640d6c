"""Where the model is made: examples -> split -> finetune -> evaluate -> promote. LOG.md says what was tried."""
