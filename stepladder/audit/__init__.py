"""Are rewards to be trusted? Episodes that ought to earn nothing, and what they earn. `stepladder.stages.audit` runs them."""
