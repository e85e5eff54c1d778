"""Floor 0: what a pushed checkpoint needs travels from this one flat folder."""
