"""Configurations: every problem at once, unknown keys, nothing allocated before the checks."""

import json
import logging
import math

import pytest

from rnn_hf import RnnConfig, RnnForCausalLM, RnnModel

from .conftest import tiny_config

NONSENSE = [-1, 0, 10**9, 10**30, 1.5, math.nan, math.inf, "ten", "", None, [], [1], {"a": {"b": 1}}, True, b"x"]


def test_one_error_lists_all_problems_with_value_allowed_set_and_cure():
    with pytest.raises(ValueError) as error:
        RnnConfig(cell_type="lstmm", hiden_size=3, hidden_dropout=1.0, num_hidden_layers=0, pooling="mena")
    message = str(error.value)
    for part in (
        "unknown key 'hiden_size' (did you mean 'hidden_size'?)",
        "cell_type must be one of elman, gru, lstm; got 'lstmm' (did you mean 'lstm'?)",
        "hidden_dropout must be a number from 0 to below 1; got 1.0",
        "num_hidden_layers must be a whole number from 1 to 1000; got 0",
        "pooling must be one of last, mean, max, concat, attention; got 'mena' (did you mean 'mean'?)",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("field", sorted(RnnConfig.field_rules))
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_nonsense_is_refused_by_name_or_works(field, value):
    """Any value in any field: a ValueError that names the field, or a model that can be built."""
    import torch

    try:
        config = RnnConfig(**{"vocab_size": 20, "embedding_size": 4, "hidden_size": 4, field: value})
    except ValueError as error:
        assert field in str(error)
        return
    with torch.device("meta"):
        RnnModel(config)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"nonlinearity": "relu"}, "nonlinearity"),
        ({"vocab_size": 10, "pad_token_id": 10}, "pad_token_id must be from 0 to 9"),
        ({"vocab_size": 10**8, "embedding_size": 10**5}, "embedding_size=100000"),
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "num_labels must be 2"),
        ({"num_labels": 0}, "num_labels"),
        ({"problem_type": "single"}, "problem_type must be one of"),
        ({"id2label": {0: "a", 2: "b"}}, "id2label must have the keys 0 to 1; got 0, 2"),
        ({"id2label": {0: "a", 1: "a"}}, "id2label must name each label by a string of its own"),
        ({"id2label": {0: ["a"], 1: "b"}}, "id2label must name each label by a string of its own"),
        ({"id2label": {}}, "id2label must be a mapping that is not empty"),
        ({"label2id": {"a": 0, "b": 2}}, "id2label must have the keys 0 to 1; got 0, 2"),
        ({"label2id": {"a": 0, "b": 1}, "num_labels": 3}, "num_labels must be 2"),
        ({"id2label": {0: "a", 1: "b"}, "label2id": {"a": 1, "b": 0}}, "label2id must be the inverse of id2label"),
        ({"dtype": "flot32"}, "dtype must be one of float32, .* got 'flot32' .did you mean 'float32'"),
    ],
)
def test_fields_that_do_not_fit_each_other(fields, named):
    with pytest.raises(ValueError, match=named):
        RnnConfig(**fields)


def test_a_field_spoilt_later_is_refused_before_allocation():
    config = tiny_config(num_hidden_layers=2)
    config.hidden_size = 10**8
    with pytest.raises(ValueError, match="hidden_size=100000000"):
        RnnModel(config)


def test_a_causal_model_is_not_bidirectional():
    with pytest.raises(ValueError, match="bidirectional must be false for RnnForCausalLM"):
        RnnForCausalLM(tiny_config(bidirectional=True))


def test_loading_keeps_unknown_keys_with_a_warning(tmp_path, caplog):
    tiny_config(num_labels=3).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**saved, "gate_of_the_future": 7}))
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        config = RnnConfig.from_pretrained(tmp_path)
    assert config.gate_of_the_future == 7
    assert config.num_labels == 3
    assert "gate_of_the_future" in caplog.text
    with pytest.raises(ValueError, match="gate_of_the_future"):
        RnnConfig(gate_of_the_future=7)


def test_overrides_at_loading_are_checked(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    assert RnnConfig.from_pretrained(tmp_path, hidden_size=9).hidden_size == 9
    for wrong in (-1, "9"):
        with pytest.raises(ValueError, match="hidden_size"):
            RnnConfig.from_pretrained(tmp_path, hidden_size=wrong)


def test_round_trip(tmp_path):
    config = tiny_config(cell_type="gru", layer_connection="highway", pooling="attention", eos_token_id=[2, 3])
    config.save_pretrained(tmp_path)
    assert RnnConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


def test_awd_lstm_shape():
    """400 -> 1150 -> 1150 -> 400, tied: 24 million parameters at 10,000 words, as published (Merity et al. 2018)."""
    import torch

    config = RnnConfig(
        vocab_size=10_000, embedding_size=400, hidden_size=1150, last_hidden_size=400, num_hidden_layers=3,
        tie_word_embeddings=True,
    )  # fmt: skip
    assert config.layer_sizes == [(400, 1150), (1150, 1150), (1150, 400)]
    with torch.device("meta"):
        model = RnnForCausalLM(config)
    assert model.projection is None
    assert 24.0e6 < model.num_parameters() < 24.3e6


def test_label_names_whose_ids_are_strings():
    """As JSON leaves them."""
    assert RnnConfig(id2label={"0": "a", "1": "b"}, label2id={"a": "0", "b": "1"}).id2label == {0: "a", 1: "b"}
    assert RnnConfig(id2label={"0": "a", "1": "b"}).label2id == {"a": 0, "b": 1}
    assert RnnConfig(label2id={"a": "0", "b": "1"}).id2label == {0: "a", 1: "b"}
