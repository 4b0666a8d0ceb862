"""The paper's tables: sweeps over recipes, CLIP and majority baselines, Tables I to VI, their plots.

Not here: how one model is trained (`pipeline`) or judged (`evaluation`). Recipes flow in; rows and tables flow out.
"""
