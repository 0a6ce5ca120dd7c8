"""Blocks that do nothing, for bodies whose patches are already features in the space of texts."""

from encoder_ablations.encoders.blocks import Blocks


class StillBlocks(Blocks):
    def run(self, index, tokens, mask=None):
        return tokens

    def attend(self, index, tokens, weights, residual=True, feedforward=True):
        return tokens

    def norm(self, tokens):
        return tokens.values

    def in_text_space(self, tokens):
        return tokens.values
