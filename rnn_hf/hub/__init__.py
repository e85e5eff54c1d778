"""Floor 3: a model folder goes to the Hub. What comes from it, `from_pretrained` brings."""
