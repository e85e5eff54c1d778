"""Every way of decoding with the state gives what the model says without one, and odd input is one clear error."""

import copy

import pytest
import torch
from transformers import CompileConfig, DynamicCache, LogitsProcessor, LogitsProcessorList

from rnn_hf import RnnForCausalLM, load_state, move_state, new_cache, repeat_state, save_state, select_state
from rnn_hf.models.cache import KEPT_HISTORY, MAX_HISTORY, begins_with_what_was_read

from .conftest import CELLS, LANGUAGE_MODELS, randomise, skip_counted, tiny_config

KINDS = [
    *((cell, "none") for cell in CELLS),
    ("lstm", "residual"),
    pytest.param(("gru", "highway"), marks=pytest.mark.slow),
]
PROMPTS = torch.tensor([[5, 6, 7, 8, 5, 6], [9, 10, 11, 12, 9, 10]])
PROMPT = PROMPTS[:1]
TURN = torch.tensor([[20, 21], [22, 23]])
SEARCHES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20, "temperature": 0.7},
    "beams": {"num_beams": 3, "do_sample": False},
    "beam sampling": {"num_beams": 3, "do_sample": True},
    "several": {"do_sample": True, "num_return_sequences": 3, "top_p": 0.9},
    "several beams": {"num_beams": 4, "num_return_sequences": 2, "do_sample": False},
}


def build(cell="lstm", connection="none", seed=0, **fields):
    torch.manual_seed(seed)
    fields = {"num_hidden_layers": 2, "eos_token_id": None, "initial_state": "learned", **fields}
    model = randomise(RnnForCausalLM(tiny_config(cell_type=cell, layer_connection=connection, **fields)))
    with torch.no_grad():
        model.lm_head.weight.mul_(2)  # a distribution with something to get wrong
    return model


OTHERS = [(name,) for name in LANGUAGE_MODELS if not name.startswith("rnn")]


@pytest.fixture(params=[*KINDS, *OTHERS], ids="-".join)
def model(request):
    name = request.param[0]
    return LANGUAGE_MODELS[name](eos_token_id=None) if name in LANGUAGE_MODELS else build(*request.param)


def generate(model, ids, seed=1, **options):
    torch.manual_seed(seed)
    return model.generate(ids, **{"max_new_tokens": 12, "do_sample": False, **options})


@torch.no_grad()
def read(model, ids, mask=None):
    cache = new_cache(model.config)
    model(ids, attention_mask=mask, past_key_values=cache)
    return cache


@pytest.mark.parametrize("search", SEARCHES)
def test_with_and_without_a_state(model, search):
    with_state, without = (generate(model, PROMPTS, use_cache=c, **SEARCHES[search]) for c in (True, False))
    assert torch.equal(with_state, without)


@pytest.mark.parametrize("search", ["greedy", "sampling", "beams"])
def test_constrained_by_a_prefix_function(model, search):
    """Each token must follow the one before it by 1 or 3, wherever the prefix function says so."""

    def allowed(row, ids):
        return [3 + (int(ids[-1]) - 3 + step) % 38 for step in (1, 3)]

    options = {"prefix_allowed_tokens_fn": allowed, **SEARCHES[search]}
    with_state, without = (generate(model, PROMPTS, use_cache=c, **options) for c in (True, False))
    assert torch.equal(with_state, without)
    steps = (with_state[:, 6:] - with_state[:, 5:-1]) % 38
    assert ((steps == 1) | (steps == 3)).all()
    with pytest.raises(ValueError, match="prefix_allowed_tokens_fn"):
        generate(model, PROMPTS, **{**options, "prefix_allowed_tokens_fn": lambda row, ids: []})


# Assisted decoding


def assistants(model):
    return {
        "smaller": {"assistant_model": build("gru", seed=5, num_hidden_layers=1, hidden_size=3, last_hidden_size=None)},
        "same": {"assistant_model": model},
        "lookup": {"prompt_lookup_num_tokens": 4},
        "long lookup": {"prompt_lookup_num_tokens": 100, "max_matching_ngram_size": 1},
    }


@pytest.mark.parametrize("kind", ["smaller", "same", "lookup", "long lookup"])
@pytest.mark.parametrize("length", [1, 6, 200])
def test_assisted_decoding_equals_greedy(model, kind, length):
    """Drafts are rolled back exactly, over several forwards, and the returned state is as if there had been none."""
    torch.manual_seed(length)
    prompt = torch.randint(3, 41, (1, 7)).repeat(1, 30)[
        :, :length
    ]  # repeats itself, so that there is something to find
    expected = generate(model, prompt, max_new_tokens=60, return_dict_in_generate=True, output_logits=True)
    found = generate(
        model, prompt, max_new_tokens=60, return_dict_in_generate=True, output_logits=True, **assistants(model)[kind]
    )
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    for layer, other in zip(found.past_key_values.layers, expected.past_key_values.layers, strict=True):
        torch.testing.assert_close(layer.state, other.state, atol=1e-5, rtol=1e-5)
        assert int(layer.cumulative_length) == int(other.cumulative_length)
        assert len(layer.history) <= max(KEPT_HISTORY, 101)


def surprise(model, ids, prompt_length):
    """How far a sampled text is from the model's distribution, in standard deviations: for each token the excess of
    its count over the sum of its probabilities, and the excess of the text's nats over the sum of entropies."""
    with torch.no_grad():
        log_probs = model(ids[:, :-1]).logits[0, prompt_length - 1 :].double().log_softmax(-1)
    probs, taken = log_probs.exp(), ids[0, prompt_length:]
    excess = torch.nn.functional.one_hot(taken, probs.shape[1]) - probs
    counts = excess.sum(0) / (probs * (1 - probs)).sum(0).sqrt()
    entropy = -(probs * log_probs).sum(-1)
    nats = (-log_probs.gather(1, taken[:, None])[:, 0] - entropy).sum()
    spread = ((probs * log_probs**2).sum(-1) - entropy**2).sum().sqrt()
    return max(counts.abs().max(), (nats / spread).abs())


@pytest.mark.parametrize("kind", ["smaller", "same", "lookup"])
def test_assisted_sampling_is_seeded_and_follows_the_model(kind):
    model = build(vocab_size=9, pad_token_id=None)
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": 700, **assistants(model)[kind]}
    if kind == "smaller":
        options["assistant_model"] = build("gru", seed=5, vocab_size=9, pad_token_id=None)
    prompt = torch.tensor([[5, 6, 7]])
    first = generate(model, prompt, **options)
    assert torch.equal(first, generate(model, prompt, **options))
    assert not torch.equal(first, generate(model, prompt, seed=2, **options))
    assert surprise(model, first, 3) < 4.5
    colder = generate(model, prompt, do_sample=True, top_k=0, temperature=0.5, max_new_tokens=700)
    assert surprise(model, colder, 3) > 4.5  # the measure sees a wrong distribution


def test_a_recorded_prompt_runs_fused_and_keeps_what_can_be_rolled_back(monkeypatch):
    model = build()
    ids = torch.randint(3, 41, (1, 3000))
    steps = []
    for layer in model.model.layers:
        original = layer._step_by_step
        monkeypatch.setattr(
            layer, "_step_by_step", lambda x, *a, original=original: steps.append(x.shape[1]) or original(x, *a)
        )
    cache = new_cache(model.config)
    cache.activate_past_recording()
    with torch.no_grad():
        out = model(ids, past_key_values=cache, logits_to_keep=5, output_hidden_states=True)
        whole = model(ids, output_hidden_states=True)
        assert steps == [KEPT_HISTORY] * 2
        assert [len(layer.history) for layer in cache.layers] == [KEPT_HISTORY + 1] * 2
        torch.testing.assert_close(out.logits, whole.logits[:, -5:], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.hidden_states, whole.hidden_states)
        for token in ids[0, :5000]:  # nobody crops: a bound holds all the same
            model(token.view(1, 1), past_key_values=cache)
        assert [len(layer.history) for layer in cache.layers] == [MAX_HISTORY] * 2
        cache.crop(-5)
        assert [len(layer.history) for layer in cache.layers] == [KEPT_HISTORY] * 2
    with pytest.raises(RuntimeError, match=f"cannot roll 64 tokens back: {KEPT_HISTORY - 1} are recorded"):
        cache.crop(-KEPT_HISTORY)


def test_roll_back_is_exact(model):
    """Over several forwards of any length, with padding, to the very beginning, and on from there."""
    ids = torch.randint(3, 41, (3, 60))
    mask = torch.rand(3, 60) > 0.3
    cache = new_cache(model.config)
    cache.activate_past_recording()
    with torch.no_grad():
        for to in (0, 7, 12, 0, 30, 29, 31, 31, 60):
            read_so_far = int(cache.get_seq_length())
            if to <= read_so_far:
                cache.crop(to - read_so_far)
            while (start := int(cache.get_seq_length())) < to:
                stop = min(start + int(torch.randint(1, 8, ())), to)
                model(ids[:, start:stop], mask[:, :stop], past_key_values=cache)
            if to:
                for layer, other in zip(cache.layers, read(model, ids[:, :to], mask[:, :to]).layers, strict=True):
                    torch.testing.assert_close(layer.state, other.state, atol=1e-6, rtol=0)
                    assert int(layer.cumulative_length) == to
            else:
                assert all(layer.state is None for layer in cache.layers)


# The prompt


@pytest.mark.parametrize("options", [{"num_beams": 2}, {}])
def test_inputs_embeds(model, options):
    skip_counted(model, "embeddings")
    embeds = model.get_input_embeddings()(PROMPTS)
    expected = generate(model, PROMPTS, **options)
    assert torch.equal(generate(model, None, inputs_embeds=embeds, **options), expected[:, 6:])
    assert torch.equal(generate(model, PROMPTS, inputs_embeds=embeds, **options), expected)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"cache_implementation": "static"}])
def test_prefill_in_chunks(model, options):
    for mask in (None, torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])):
        expected = generate(model, PROMPTS, attention_mask=mask)
        for size in (1, 4, 100):
            found = generate(model, PROMPTS, attention_mask=mask, prefill_chunk_size=size, **options)
            assert torch.equal(found, generate(model, PROMPTS, attention_mask=mask, **options))
        assert options.get("num_beams") or torch.equal(found, expected)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_new_turn_goes_on_from_a_state(model, search):
    """With the turn's ids alone or the whole text, with or without a mask, for as many rows as the search needs."""
    options = {"max_new_tokens": 6, **SEARCHES[search]}
    text = torch.cat([PROMPTS, TURN], 1)
    expected = generate(model, text, **options)
    new = expected[:, text.shape[1] :]
    cache = read(model, PROMPTS)
    for ids, mask in (
        (TURN, None),
        (TURN, torch.ones_like(TURN)),  # as a tokenizer gives it
        (TURN, torch.ones_like(text)),
        (text, None),
        (text, torch.ones_like(text)),
    ):
        found = generate(model, ids, attention_mask=mask, past_key_values=copy.deepcopy(cache), **options)
        assert torch.equal(found[:, ids.shape[1] :], new)


@pytest.mark.parametrize("kind", ["greedy", "beams", "chunks", "lookup", "smaller"])
def test_a_new_turn_longer_than_all_that_was_read(model, kind):
    """The state knows what it has read, so nobody has to say which of the two the ids are."""
    options = {**SEARCHES, **assistants(model), "chunks": {"prefill_chunk_size": 3}}[kind]
    first, turn = PROMPTS[:1, :3], torch.tensor([[20, 6, 7, 22, 23, 24, 20]])
    whole = torch.cat([first, turn], 1)
    expected = generate(model, whole, **options)[:, whole.shape[1] :]
    for mask in (None, torch.ones_like(turn), torch.ones_like(whole)):
        found = generate(model, turn, attention_mask=mask, past_key_values=read(model, first), **options)
        assert torch.equal(found[:, turn.shape[1] :], expected), mask
    if "assistant_model" not in options and "prompt_lookup_num_tokens" not in options:
        found = generate(model, whole, past_key_values=read(model, first), **options)
        assert torch.equal(found[:, whole.shape[1] :], expected)


def test_what_a_state_remembers_of_its_text_survives(tmp_path):
    """Roll-back, rows chosen and repeated, a copy, a file, steps of generate; where it is lost, the text is whole."""
    model = build()
    turn = torch.tensor([[20, 21, 22, 23, 24, 25, 26, 27]])
    expected = generate(model, torch.cat([PROMPT, turn], 1))[:, -12:]

    def rolled_back():
        cache = new_cache(model.config)
        cache.activate_past_recording()
        with torch.no_grad():
            model(PROMPT, past_key_values=cache)
            model(TURN[:1], past_key_values=cache)
        cache.crop(-2)
        return cache

    save_state(read(model, PROMPT), tmp_path / "state", model.config)
    states = [
        rolled_back(),
        select_state(read(model, PROMPTS), [0]),
        select_state(repeat_state(read(model, PROMPT), 2), [1]),
        move_state(move_state(read(model, PROMPT), dtype=torch.float64), "cpu", torch.float32),
        copy.deepcopy(read(model, PROMPT)),
        load_state(tmp_path / "state", model.config),
    ]
    for state in states:
        assert begins_with_what_was_read(turn, state) is False
        assert begins_with_what_was_read(torch.cat([PROMPT, turn], 1), state) is True
        assert torch.equal(generate(model, turn, past_key_values=state)[:, -12:], expected)
    written = generate(model, PROMPT, return_dict_in_generate=True)
    assert begins_with_what_was_read(written.sequences, written.past_key_values) is True
    embedded = new_cache(model.config)
    with torch.no_grad():
        model(inputs_embeds=model.model.embed_tokens(PROMPT), past_key_values=embedded)
    assert begins_with_what_was_read(turn, embedded) is None
    whole = torch.cat([PROMPT, turn], 1)
    assert torch.equal(generate(model, whole, past_key_values=embedded)[:, -12:], expected)


@pytest.mark.parametrize("length", [2, 9])
def test_a_new_turn_of_embeddings(model, length):
    skip_counted(model, "embeddings")
    turn = torch.randint(3, 41, (1, length))
    expected = generate(model, torch.cat([PROMPT, turn], 1))[:, -12:]
    embeds = model.model.embed_tokens(turn).detach()
    for mask in (None, torch.ones_like(turn), torch.ones(1, PROMPT.shape[1] + length)):
        if length > PROMPT.shape[1] and (mask is None or mask.shape[1] == length):
            continue  # the whole text, as in transformers
        found = generate(model, None, inputs_embeds=embeds, attention_mask=mask, past_key_values=read(model, PROMPT))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_state_of_another_precision_is_rounded_once(model, dtype):
    """However the text is cut into calls, and after a prompt that was read under autocast."""
    states = [move_state(read(model, PROMPT), dtype=dtype)]
    with torch.autocast("cpu", torch.bfloat16):
        states.append(read(model, PROMPT))
    turn = torch.randint(3, 41, (1, 12))
    for state in states:
        pieces = copy.deepcopy(state)
        with torch.no_grad():
            whole = model(turn, past_key_values=state).logits
            steps = [model(turn[:, [t]], past_key_values=pieces).logits for t in range(12)]
        torch.testing.assert_close(torch.cat(steps, 1), whole, atol=2e-5, rtol=1e-5)


def test_a_state_made_in_inference_mode_goes_on_outside():
    model = build()
    expected = generate(model, TURN[:1], past_key_values=read(model, PROMPT))

    def made():
        with torch.inference_mode():
            cache = new_cache(model.config)
            cache.activate_past_recording()
            model(PROMPT, past_key_values=cache)
        return cache

    assert torch.equal(generate(model, TURN[:1], past_key_values=made()), expected)
    model(TURN[:1], past_key_values=made()).logits.sum().backward()
    state = made()
    state.crop(-1)
    model(PROMPT[:, -1:], past_key_values=state)
    torch.testing.assert_close(state.layers[0].state, read(model, PROMPT).layers[0].state)
    state = made()
    state.reset()
    assert int(state.get_seq_length()) == 0


def test_a_padded_new_turn(model):
    first = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    second = torch.tensor([[1, 1], [0, 1]])
    whole = generate(model, torch.cat([PROMPTS, TURN], 1), attention_mask=torch.cat([first, second], 1))
    for mask in (second, torch.cat([first, second], 1)):
        found = generate(model, TURN, attention_mask=mask, past_key_values=read(model, PROMPTS, first))
        assert torch.equal(found[:, 2:], whole[:, 8:])


@pytest.mark.parametrize("kind", ["smaller", "same", "lookup"])
def test_assisted_decoding_goes_on_from_a_state(model, kind):
    expected = generate(model, torch.cat([PROMPT, TURN[:1]], 1))
    options = assistants(model)[kind]
    found = generate(model, TURN[:1], past_key_values=read(model, PROMPT), **options)
    assert torch.equal(found[:, 2:], expected[:, 8:])
    with pytest.raises(ValueError, match="goes on from a state with the new ids alone"):
        generate(model, torch.cat([PROMPT, TURN[:1]], 1), past_key_values=read(model, PROMPT), **options)


def test_chat_turn_by_turn(model):
    """The returned state has read all but the last token, which the next turn begins with."""
    cache, ids, text = new_cache(model.config), PROMPT, PROMPT
    for turn in ([20], [21, 22, 23], [24, 25]):
        written = generate(model, ids, past_key_values=cache, max_new_tokens=5)[:, -5:]
        assert torch.equal(written, generate(model, text, max_new_tokens=5)[:, -5:])
        ids = torch.cat([written[:, -1:], torch.tensor([turn])], 1)
        text = torch.cat([text, written, torch.tensor([turn])], 1)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_padding(model, search):
    """Left, right, scattered: the row alone. Of padding alone: what the initial state says, in any batch."""
    masks = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]])
    ids = torch.randint(3, 41, masks.shape)
    options = {**SEARCHES[search], "output_logits": True, "return_dict_in_generate": True}
    together = generate(model, ids, attention_mask=masks, **options)
    assert torch.isfinite(together.logits[0]).all()
    if options["do_sample"]:
        return
    options.pop("output_logits"), options.pop("return_dict_in_generate")
    each = together.sequences[:, 6:].view(4, -1, 12)
    for row, mask, found in zip(ids[:3], masks, each, strict=False):
        alone = row[mask.bool()][None]
        assert torch.equal(generate(model, alone, **options)[:, alone.shape[1] :], found)
    nothing = generate(model, ids[3:, :2], attention_mask=masks[3:, :2], **options)[:, 2:]
    assert torch.equal(nothing, each[3])


# Outputs and compiled steps


@pytest.mark.parametrize("search", ["greedy", "sampling", "beams"])
def test_scores_and_hidden_states(model, search):
    skip_counted(model, "hidden states")
    options = {
        "return_dict_in_generate": True, "output_scores": True, "output_logits": True, "output_hidden_states": True,
        **SEARCHES[search],
    }  # fmt: skip
    out, without = (generate(model, PROMPTS, use_cache=c, **options) for c in (True, False))
    assert type(out.past_key_values) is DynamicCache
    assert without.past_key_values is None
    torch.testing.assert_close(out.scores, without.scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.logits, without.logits, atol=1e-5, rtol=1e-5)
    for one, all_steps in zip(out.hidden_states, without.hidden_states, strict=True):
        last = [[h[:, -1] for h in states] for states in (one, all_steps)]
        torch.testing.assert_close(*last, atol=1e-5, rtol=1e-5)


def test_hidden_states_of_assisted_decoding(model):
    skip_counted(model, "hidden states")
    options = {"return_dict_in_generate": True, "output_hidden_states": True, "output_scores": True}
    # Nothing repeats here: for drafts accepted in the first round transformers 5.23 returns the prompt's hidden states.
    prompt = PROMPT[:, :4]
    out = generate(model, prompt, max_new_tokens=30, **options)
    assisted = generate(model, prompt, max_new_tokens=30, prompt_lookup_num_tokens=3, **options)
    torch.testing.assert_close(assisted.scores, out.scores, atol=1e-5, rtol=1e-5)
    for one, other in zip(assisted.hidden_states, out.hidden_states, strict=True):
        torch.testing.assert_close([h[:, -1] for h in one], [h[:, -1] for h in other], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("search", SEARCHES)
def test_static_cache(model, search):
    expected = generate(model, PROMPTS, **SEARCHES[search])
    assert torch.equal(generate(model, PROMPTS, cache_implementation="static", **SEARCHES[search]), expected)


def test_static_cache_with_a_compiled_step(model):
    skip_counted(model, "compiled steps")
    torch._dynamo.reset()
    compile_config = CompileConfig(fullgraph=True, dynamic=False, backend="aot_eager")
    compile_config._compile_all_devices = True
    options = {"cache_implementation": "static", "compile_config": compile_config}
    counters = torch._dynamo.utils.counters
    counters.clear()
    for seed in (1, 2):
        ids = torch.randint(3, 41, (2, 6))
        assert torch.equal(generate(model, ids, seed, **options), generate(model, ids, seed))
    assert counters["stats"]["unique_graphs"] >= 1
    assert not counters["graph_break"]


# Odd input


def test_numbers_that_are_not_finite(model):
    skip_counted(model, "weights that training could spoil")
    ways = [*SEARCHES.values(), {"prompt_lookup_num_tokens": 2}, {"prompt_lookup_num_tokens": 2, "do_sample": True}]
    for value in (float("nan"), float("inf")):
        broken = copy.deepcopy(model)
        with torch.no_grad():
            broken.lm_head.bias[7] = value
        for options in ways:
            with pytest.raises(ValueError, match=r"the scores of the next token are .* in row 0\. Look for NaN"):
                generate(broken, PROMPT, **options)
    state = read(model, PROMPT)
    state.layers[0].states[0][0] = float("nan")
    with pytest.raises(ValueError, match="in the state or embeddings"):
        generate(model, TURN[:1], past_key_values=state)
    with torch.no_grad():
        model.lm_head.bias[7] = -torch.inf  # a token that is never wanted is nobody's mistake
    assert not (generate(model, PROMPT, do_sample=True)[:, 6:] == 7).any()


def test_scores_that_leave_no_token():
    class Nothing(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -torch.inf)

    for options in SEARCHES.values():
        with pytest.raises(ValueError, match="a logits processor"):
            generate(build(), PROMPT, logits_processor=LogitsProcessorList([Nothing()]), **options)
    with pytest.raises(ValueError, match="temperature"):
        generate(build(), PROMPT, do_sample=True, temperature=1e-44)


@pytest.mark.parametrize("options", [*SEARCHES.values(), {"prompt_lookup_num_tokens": 2}])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(1, 0, dtype=torch.long), "holds no token"),
        (torch.zeros(0, 4, dtype=torch.long), "holds no token"),
        (torch.tensor([[3, 41]]), "token ids must be from 0 to 40; got 41"),
        (torch.tensor([[-1, 3]]), "token ids must be from 0 to 40; got -1"),
        (torch.tensor([[3.0, 4.0]]), "token ids must be int64 or int32"),
        (torch.tensor([3, 4]), r"the input must be of shape \(batch, time\)"),
    ],
)
def test_bad_prompts(options, ids, message):
    with pytest.raises(ValueError, match=message):
        generate(build(), ids, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefill_chunk_size": 0}, "prefill_chunk_size must be a whole number from 1"),
        ({"prefill_chunk_size": 1.5}, "prefill_chunk_size must be a whole number from 1"),
        ({"attention_mask": torch.tensor([1, 1, 0, 1, 1, 1])}, "attention_mask must be of shape"),
        ({"attention_mask": torch.ones(4, 6)}, "attention_mask must be of shape"),
        ({"inputs_embeds": torch.zeros(1, 6)}, "must be of shape .batch, time, features."),
        ({"inputs_embeds": torch.zeros(1, 2, 6, dtype=torch.float64)}, "inputs_embeds must be of the model's type"),
        ({"inputs_embeds": torch.zeros(1, 2, 6), "prompt_lookup_num_tokens": 3}, "assisted decoding drafts by ids"),
    ],
)
def test_bad_options(options, message):
    ids = None if "inputs_embeds" in options else PROMPT
    with pytest.raises(ValueError, match=message):
        generate(build(), ids, **options)


def test_more_drafts_than_can_be_rolled_back():
    model, assistant = build(), build(seed=3)
    assistant.generation_config.update(num_assistant_tokens=1100, assistant_confidence_threshold=0.0)
    with pytest.raises(ValueError, match="of drafts the last 1023: set num_assistant_tokens below that"):
        generate(model, PROMPT, max_new_tokens=1200, assistant_model=assistant)


def test_no_new_token():
    for options in SEARCHES.values():
        with pytest.raises(ValueError, match="max_new_tokens"):
            generate(build(), PROMPT, **{**options, "max_new_tokens": 0})
        with pytest.raises(ValueError, match=r"max_length|max_new_tokens"):
            generate(build(), PROMPT, **{**options, "max_new_tokens": -3})


def test_a_state_of_another_model(model):
    others = [
        DynamicCache(),
        ((torch.zeros(1, 6),),),
        read(build(num_hidden_layers=3), PROMPT),
        read(build(hidden_size=9), PROMPT),
        *(read(build(cell), PROMPT) for cell in CELLS if cell != getattr(model.config, "cell_type", None)),
        read(model, PROMPTS),
    ]
    for cache in others:
        with pytest.raises(ValueError, match=r"past_key_values .*belongs to another model"):
            generate(model, TURN[:1], past_key_values=cache)
    with pytest.raises(ValueError, match="assistant_early_exit must be None"):
        generate(model, PROMPT, assistant_early_exit=1)
