"""Store in, model out: splits, recipes, data-parallel training, evaluation and reports."""
