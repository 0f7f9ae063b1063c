"""Plans at equal final loss: designs of one accelerator, and systems of many (also by the step alone)."""

from dse.search.target_loss.designs import PLANS, at_target_loss, best_of_each
from dse.search.target_loss.tokens import parameters_of, tokens_per_step

__all__ = ["PLANS", "at_target_loss", "best_of_each", "parameters_of", "tokens_per_step"]
