"""From named text to batches.

`sources` finds a named data set, in files (`readers`), packages (`packaged`) or on the Hub (`hub_sets`), and gives its
rows; `splits` holds out and compares them; `labels` gives labels ids and weights; `batches` turns rows into tensors,
without lightning, so that a command which needs no Trainer starts fast; `language_modeling` and `classification` are
the LightningDataModules over both, `datamodule` is what those two share. A batch's keys are the contract with
`rnn_hf.training`. `records` copies whole files with columns added, for prediction.
"""
