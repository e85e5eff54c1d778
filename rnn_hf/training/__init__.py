"""LightningModules that train the models, and what surrounds them: schedule, best weights, progress, the folder."""
