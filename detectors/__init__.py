"""Pure numpy: plain arrays in, verdicts and findings out. Imports nothing of ours."""
