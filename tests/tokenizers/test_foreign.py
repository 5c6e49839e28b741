"""Tokenizers from elsewhere: GPT-2's, Llama 2's and BERT's kinds in small, and files that are broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import RunError
from nextword.tokenizers import Tokenizer

TEXT = "the cat sat on the mat, 猫坐在垫子上。 café 👩‍👩‍👧 1,000\n"


def gpt2(folder):
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([TEXT] * 3, trainer)
    backend.add_special_tokens(["<|endoftext|>"])
    # Not special, and spelt with characters that stand for no byte: the two spaces of code models, a Chinese word.
    backend.add_tokens([AddedToken("  ", normalized=False), AddedToken("垫子", normalized=False)])
    backend.save(str(folder / "tokenizer.json"))


def llama2(folder):
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("a", "t"), ("c", "at"), ("▁", "cat"), ("▁", "▁")]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*"▁abcdehmnost,猫", *("".join(pair) for pair in merges)]
    vocab = {piece: id for id, piece in enumerate(pieces)}
    backend = Backend(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<s>", "</s>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))


def bert(folder):
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    words = ["[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "##at", "m", "on", ",", ".", "猫", "n", "'", "t"]
    backend = Backend(models.WordPiece({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[CLS]", "[SEP]"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "[CLS]", "eos_token": "[SEP]"}))


KINDS = {"gpt2": gpt2, "llama2": llama2, "bert": bert}


@pytest.fixture(scope="module", params=KINDS)
def foreign(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param](folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module", params=["gpt2", "llama2"])
def lossless(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param](folder)
    return Tokenizer.load(folder)


def streamed(tokenizer, ids):
    stream = tokenizer.stream()
    return [*(stream.step(id) for id in ids), stream.flush()]


@given(text=st.text() | st.sampled_from([TEXT, "<|endoftext|>", "</s><s>", "a  垫子  b"]))
def test_text_comes_back_whole_and_as_a_stream(lossless, text):
    ids = lossless.encode(text)
    pieces = streamed(lossless, ids)
    # Llama 2 writes spaces as ▁, so a ▁ in the text comes back as a space, in transformers too.
    expected = text.replace("▁", " ") if lossless.unk_id is not None else text
    assert lossless.decode(ids) == "".join(pieces) == expected
    assert all(piece in expected for piece in pieces)
    assert not lossless.special_ids & {*ids}


@given(data=st.data())
def test_any_ids_stream_as_they_decode(foreign, data):
    ids = data.draw(st.lists(st.integers(0, foreign.vocab_size - 1), max_size=40))
    assert "".join(streamed(foreign, ids)) == foreign.decode(ids)


def test_every_id_has_a_text_for_people(foreign):
    assert all(foreign.token_text(id) for id in range(foreign.vocab_size))


def test_ids_and_text_are_those_of_transformers(foreign, tmp_path):
    transformers = pytest.importorskip("transformers")
    foreign.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = foreign.encode(TEXT)
    assert theirs(TEXT, add_special_tokens=False).input_ids == ids
    assert theirs.decode(ids) == foreign.decode(ids)
    assert Tokenizer.load(tmp_path).fingerprint() == foreign.fingerprint()


def test_boundaries_are_found(tmp_path):
    gpt2(tmp_path)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    assert tokenizer.backend.id_to_token(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.bos_id == tokenizer.eos_id
    assert tokenizer.unk_id is None
    llama2(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)


BARE = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "decoder": None}


def write(folder, model, **more):
    (folder / "tokenizer.json").write_text(json.dumps(BARE | {"model": model} | more), encoding="utf-8")


def test_ids_with_holes_all_lie_below_the_vocabulary_size(tmp_path):
    """An embedding has a row for every id up to the largest, used or not."""
    write(tmp_path, {"type": "BPE", "vocab": {"a": 0, "b": 5, "<eos>": 9}, "merges": []})
    tokenizer = Tokenizer.load(tmp_path)
    assert max(tokenizer.encode("ab"), default=0) < tokenizer.vocab_size == 10


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]], "continuing_subword_prefix": "##"}, {}),
        ({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "c"]]}, {}),
        ({"type": "Unigram", "vocab": [], "unk_id": 0}, {}),
        ({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 5}, {}),
        ({"type": "BPE", "vocab": {"a": -1}, "merges": []}, {}),
        ({"type": "Magic"}, {}),
        ({"type": "BPE"}, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, model, more):
    """Also where the library panics, which raises what is no Exception."""
    write(tmp_path, model, **more)
    with pytest.raises(RunError, match=r"tokenizer\.json is damaged") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_damaged(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="damaged"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_without_boundary_is_told(tmp_path):
    write(tmp_path, {"type": "BPE", "vocab": {"a": 0}, "merges": []})
    with pytest.raises(RunError, match="eos token"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("settings", ["[]", '{"eos_token": 5}', '{"eos_token": ["<eos>"]}'])
def test_settings_that_name_no_boundary(tmp_path, settings):
    write(tmp_path, {"type": "BPE", "vocab": {"a": 0, "<eos>": 1}, "merges": []})
    (tmp_path / "tokenizer_config.json").write_text(settings)
    assert Tokenizer.load(tmp_path).eos_id == 1  # what the file does not name well is looked for


@pytest.mark.parametrize("settings", ["{", '{"eos_token": "<nowhere>"}'])
def test_settings_that_contradict_the_vocabulary(tmp_path, settings):
    write(tmp_path, {"type": "BPE", "vocab": {"a": 0, "<eos>": 1}, "merges": []})
    (tmp_path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(RunError, match=r"tokenizer(_config)?\.json") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
