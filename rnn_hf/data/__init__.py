"""From named text to batches.

`sources` reads files and packaged sets into rows; `batches` turns rows into tensors, without lightning, so that a
command which needs no Trainer starts fast; `language_modeling` and `classification` are the LightningDataModules over
both, `datamodule` is what those two share. A batch's keys are the contract with `rnn_hf.training`.
"""
