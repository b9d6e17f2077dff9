"""Learnt estimators: the corpus they learn from, how they are fitted, and where they beat the others."""
