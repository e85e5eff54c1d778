"""CoNLL files: words and tags out of columns, what is passed over, and every malformed line."""

import pytest

from rnn_hf.data.readers import read_rows

CONLLU = """\
# newdoc id = weblog
# sent_id = 1
# text = Let's go
1-2\tLet's\t_\t_\t_\t_\t_\t_\t_\t_
1\tLet\tlet\tVERB\tVB\t_\t0\troot\t_\t_
2\t's\twe\tPRON\tPRP\t_\t1\tobj\t_\t_
2.1\tus\twe\tPRON\tPRP\t_\t_\t_\t_\tCopyOf=2
3\tgo\tgo\tVERB\tVB\t_\t1\txcomp\t_\tSpaceAfter=No

# sent_id = 2
1\t#\t#\tSYM\t#\t_\t0\troot\t_\t_
2\t_\t_\tPUNCT\tNFP\t_\t1\tpunct\t_\t_
3\tNew York\tNew York\tPROPN\tNNP\t_\t1\tappos\t_\t_
"""

CONLL_2003 = """\
-DOCSTART- -X- -X- O

# # I-NP O
U.N. NNP I-NP I-ORG
official NN I-NP O

-DOCSTART- -X- -X- O

# a note of the annotator
Ekeus NNP I-NP I-PER
\t
"""


def rows_of(folder, name, text, **columns):
    (folder / name).write_text(text, encoding="utf-8")
    rows = read_rows(folder / name, "tokens", columns.get("tags", "tags"), "tokens")
    return list(zip(rows.texts, rows.labels, strict=True))


def test_conllu(tmp_path):
    assert rows_of(tmp_path, "a.conllu", CONLLU) == [
        (["Let", "'s", "go"], ["VERB", "PRON", "VERB"]),
        (["#", "_", "New York"], ["SYM", "PUNCT", "PROPN"]),
    ]
    assert rows_of(tmp_path, "a.conllu", CONLLU, tags="xpos")[0][1] == ["VB", "PRP", "VB"]


def test_columns(tmp_path):
    expected = [(["#", "U.N.", "official"], ["O", "I-ORG", "O"]), (["Ekeus"], ["I-PER"])]
    assert rows_of(tmp_path, "a.conll", CONLL_2003) == expected
    assert rows_of(tmp_path, "a.iob", CONLL_2003.replace("\n", "\r\n")) == expected
    assert rows_of(tmp_path, "a.conll", CONLL_2003, tags="2")[0][1] == ["#", "NNP", "NN"]


def test_tabs_leave_spaces_in_words(tmp_path):
    text = "# id 8d4b domain=train\nNew York\tB-LOC\n\N{NO-BREAK SPACE}x\tO\n#\tO\n\n\nLINE\N{LINE SEPARATOR}\tO"
    assert rows_of(tmp_path, "a.conll", text) == [
        (["New York", "\N{NO-BREAK SPACE}x", "#"], ["B-LOC", "O", "O"]),
        (["LINE\N{LINE SEPARATOR}"], ["O"]),
    ]


def test_a_comment_with_as_many_columns_as_the_words(tmp_path):
    text = "# id 8d4b domain=train\nParis _ _ B-LOC\n"
    assert rows_of(tmp_path, "a.conll", text) == [(["Paris"], ["B-LOC"])]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "a X\n\nb X Y\n", r"a\.conll line 3 has 3 columns \('b X Y'\), expected 2: a word first"),
        ("a.conll", "a\nb\n", r"a\.conll line 1 has 1 columns .* expected 2"),
        ("a.conll", "a\tX\nb\t\n", r"a\.conll line 2: the word 'b' has no tags \(''\)"),
        ("a.conll", "a X\n" * 10_001, r"a\.conll line 10001: no blank line in 10,000 words"),
        ("a.conll", "\n\n", r"a\.conll holds no rows"),
        ("a.conllu", CONLLU.replace("\n\n", "\n"), r"a\.conllu line 10: the word's id must be 4; got '1'"),
        ("a.conllu", "1 a\n", r"a\.conllu line 1 has 1 columns separated by tabs, CoNLL-U has 10"),
        ("a.conllu", CONLLU.replace("SYM", "_"), r"a\.conllu line 11: the word '#' has no tags \('_'\)"),
    ],
)
def test_malformed_lines(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path, name, text)


def test_missing_columns_and_broken_utf8(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'upoz' in .*a\.conllu; .*did you mean 'upos'"):
        rows_of(tmp_path, "a.conllu", CONLLU, tags="upoz")
    with pytest.raises(ValueError, match=r"no column '5' in .*; columns: tokens, tags, 1, 2, 3, 4"):
        rows_of(tmp_path, "a.conll", CONLL_2003, tags="5")
    (tmp_path / "b.conll").write_bytes(b"a X\nb\xff X\n")
    with pytest.raises(ValueError, match=r"b\.conll line 2: byte 0xff at byte 2 is not UTF-8"):
        read_rows(tmp_path / "b.conll", "tokens", "tags", "tokens")
