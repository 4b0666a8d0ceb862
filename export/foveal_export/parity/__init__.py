"""An artefact's answers beside PyTorch's: comparison, paired losses, evidence, budget, verdict, mends, the report.

Not here: making artefacts (`quantise`), choosing between them (`search`). Answers of both sides flow in; failures flow out.
"""
