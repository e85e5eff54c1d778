"""generate(): every way of decoding gives what the uncached model says."""

import pytest
import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from rnn_hf import RnnForCausalLM, new_cache, train_char_tokenizer, train_word_tokenizer

from .conftest import CELLS, CONNECTIONS, LANGUAGE_MODELS, randomise, skip_counted, tiny_config

PROMPT = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


@pytest.fixture(params=LANGUAGE_MODELS)
def model(request):
    return LANGUAGE_MODELS[request.param](eos_token_id=None)


@torch.no_grad()
def greedy_without_state(model, ids, steps):
    for _ in range(steps):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return ids


def test_greedy_equals_the_uncached_model(model):
    expected = greedy_without_state(model, PROMPT, 12)
    for use_cache in (True, False):
        assert torch.equal(model.generate(PROMPT, max_new_tokens=12, do_sample=False, use_cache=use_cache), expected)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2, "do_sample": True}])
def test_beams_equal_the_uncached_model(model, options):
    found = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        found.append(model.generate(PROMPT, max_new_tokens=8, use_cache=use_cache, **options))
    assert torch.equal(*found)


def test_sampling_is_seeded_and_follows_the_model(model):
    def sample(seed):
        torch.manual_seed(seed)
        return model.generate(PROMPT[:1], max_new_tokens=10, do_sample=True, num_return_sequences=3, top_p=0.9)

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    one_step = model.generate(PROMPT[:1].expand(20_000, -1), max_new_tokens=1, do_sample=True, top_k=0)[:, -1]
    frequencies = one_step.bincount(minlength=41) / len(one_step)
    with torch.no_grad():
        probabilities = model(PROMPT[:1]).logits[0, -1].softmax(-1)
    assert (frequencies - probabilities).abs().max() < 0.02


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cell", CELLS)
def test_padded_batches_equal_single_prompts(cell, connection, side):
    config = tiny_config(cell_type=cell, num_hidden_layers=2, eos_token_id=None, layer_connection=connection)
    model = randomise(RnnForCausalLM(config))
    prompts = [torch.randint(3, 41, (n,)) for n in (1, 7, 4)]
    ids, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        at = slice(7 - len(prompt), 7) if side == "left" else slice(0, len(prompt))
        ids[i, at], mask[i, at] = prompt, 1
    for options in ({"do_sample": False}, {"num_beams": 2}):
        together = model.generate(ids, attention_mask=mask, max_new_tokens=6, **options)[:, 7:]
        for prompt, row in zip(prompts, together, strict=True):
            alone = model.generate(prompt[None], max_new_tokens=6, **options)[0, len(prompt) :]
            assert torch.equal(row, alone)


def test_continuation_from_a_returned_state(model):
    """A second turn with only its new ids continues as if the whole text had been read at once."""
    first = model.generate(PROMPT, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    turn = torch.tensor([[20, 21], [22, 23]])
    text = torch.cat([first.sequences, turn], 1)
    expected = model.generate(text, max_new_tokens=5, do_sample=False)
    # the state has read all but the last generated token
    continued = model.generate(text, past_key_values=first.past_key_values, max_new_tokens=5, do_sample=False)
    assert torch.equal(continued, expected)


def test_a_state_can_be_copied_and_two_generations_interleaved(model):
    import copy

    cache = new_cache(model.config)
    with torch.no_grad():
        model(PROMPT, past_key_values=cache)
    results = []
    for token in (20, 21, 20):
        follow = torch.cat([PROMPT, torch.full((2, 1), token)], 1)
        results.append(model.generate(follow, past_key_values=copy.deepcopy(cache), max_new_tokens=4, do_sample=False))
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0], greedy_without_state(model, results[0][:, :5], 4))


def test_inputs_embeds(model):
    skip_counted(model, "embeddings")
    embeds = model.get_input_embeddings()(PROMPT)
    out = model.generate(inputs_embeds=embeds, max_new_tokens=6, do_sample=False)
    assert torch.equal(out, greedy_without_state(model, PROMPT, 6)[:, 4:])


def test_logits_processors_and_stopping_criteria(model):
    class Only(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([33]), 0.0)

    out = model.generate(
        PROMPT,
        logits_processor=LogitsProcessorList([Only()]),
        stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(9)]),
    )
    assert out.shape == (2, 9)
    assert (out[:, 4:] == 33).all()
    repeated = model.generate(PROMPT, max_new_tokens=20, do_sample=False, no_repeat_ngram_size=1)
    assert all(len(set(row.tolist())) == len(row) for row in repeated)


def test_outputs_as_a_dictionary(model):
    skip_counted(model, "hidden states")
    out = model.generate(
        PROMPT, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_scores=True,
        output_logits=True, output_hidden_states=True,
    )  # fmt: skip
    assert len(out.scores) == len(out.logits) == len(out.hidden_states) == 3
    with torch.no_grad():
        assert out.hidden_states[0][0].shape[:2] == (2, 4)
        torch.testing.assert_close(out.hidden_states[0], model(PROMPT, output_hidden_states=True).hidden_states)
        logits = model(out.sequences[:, :-1]).logits[:, 3:]
    torch.testing.assert_close(torch.stack(out.logits, 1), logits, atol=1e-6, rtol=0)


def test_streamer_and_stop_strings(capsys):
    tokenizer = train_char_tokenizer(["abcdefghij "])
    config = tiny_config(vocab_size=len(tokenizer), pad_token_id=0)
    model = randomise(RnnForCausalLM(config))
    inputs = tokenizer("abc", return_tensors="pt")
    out = model.generate(
        **inputs,
        max_new_tokens=20,
        do_sample=True,
        streamer=TextStreamer(tokenizer),
        suppress_tokens=[0, 1, 2],
        top_k=0,
    )
    assert capsys.readouterr().out == tokenizer.decode(out[0]) + "\n"
    torch.manual_seed(0)
    stopped = model.generate(
        **inputs, max_new_tokens=300, do_sample=True, stop_strings=["e"], tokenizer=tokenizer, suppress_tokens=[0, 1, 2]
    )
    text = tokenizer.decode(stopped[0])
    assert text.endswith("e")
    assert text.count("e") == 1


@pytest.mark.parametrize("stop_strings", ["good film", ["never", "film"], ["d f"]])
def test_stop_strings_with_words_that_no_letters_spell(stop_strings):
    tokenizer = train_word_tokenizer(["a good film is a bad film"])
    model = randomise(RnnForCausalLM(tiny_config(vocab_size=len(tokenizer), pad_token_id=0)))
    inputs = tokenizer(["a good film", "a bad"], return_tensors="pt", padding=True, padding_side="left")
    torch.manual_seed(1)
    out = model.generate(
        **inputs, max_new_tokens=200, do_sample=True, stop_strings=stop_strings, tokenizer=tokenizer,
        suppress_tokens=[0, 1, 2],
    )  # fmt: skip
    for row, prompt in zip(out, inputs["input_ids"], strict=True):
        text = tokenizer.decode(row[len(prompt) :], skip_special_tokens=True)
        stop = next(s for s in [stop_strings] * isinstance(stop_strings, str) + list(stop_strings) if s in text)
        assert stop in text
        assert stop not in text[: text.rfind(" ")]


@pytest.mark.parametrize("stop_strings", [[], "", ["a", ""], [3]])
def test_stop_strings_that_hold_no_text_are_refused(model, stop_strings):
    tokenizer = train_word_tokenizer(["a good film"])
    with pytest.raises(ValueError, match="stop_strings must be texts that are not empty"):
        model.generate(torch.tensor([[3]]), max_new_tokens=2, stop_strings=stop_strings, tokenizer=tokenizer)


def test_prompts_of_any_length(model):
    for length in (1, 2, 500):
        ids = torch.randint(3, 41, (1, length))
        assert torch.equal(model.generate(ids, max_new_tokens=3, do_sample=False), greedy_without_state(model, ids, 3))
    from_nothing = model.generate(max_new_tokens=3, do_sample=False)
    assert torch.equal(from_nothing, greedy_without_state(model, torch.tensor([[2]]), 3))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), "holds no token"),
        (torch.zeros(0, 4, dtype=torch.long), "holds no token"),
        (torch.tensor([[41]]), "token ids must be from 0 to 40; got 41"),
        (torch.tensor([[4]], dtype=torch.uint8), "token ids must be int64 or int32; got torch.uint8"),
        (torch.tensor([[-1]]), "token ids must be from 0 to 40; got -1"),
    ],
)
def test_bad_prompts_are_one_clear_error(model, ids, message):
    with pytest.raises(ValueError, match=message):
        model(ids)
    with pytest.raises(ValueError, match=message):
        model.generate(ids, max_new_tokens=2)


def test_a_state_of_another_model_or_batch_is_refused(model):
    other = randomise(RnnForCausalLM(tiny_config(cell_type="lstm", num_hidden_layers=2, hidden_size=9)))
    with torch.no_grad():
        cache = other(PROMPT).past_key_values
        with pytest.raises(ValueError, match=r"past_key_values .*belongs to another model"):
            model(PROMPT, past_key_values=cache)
        with pytest.raises(ValueError, match="past_key_values of layer 0 must hold"):
            model(PROMPT[:1], past_key_values=model(PROMPT).past_key_values)
    with pytest.raises(ValueError, match="attention_mask must be of shape"):
        model(PROMPT, attention_mask=torch.ones(2, 3))
