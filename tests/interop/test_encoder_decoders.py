"""Encoder-decoders from elsewhere, as their makers lay them out: imported, compared, and then a run like any other."""

import io
import json
import shutil

import pytest
import torch
from cases import rarely
from interop_runs import random_run
from references import theirs

from nextword.applied.translator import Translator
from nextword.checkpoint import load_run
from nextword.cli import run as command
from nextword.generator import TextGenerator
from nextword.interop.sentencepiece import read_model, with_sentinels
from nextword.tokenizers import Tokenizer

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")
ENGLISH = ["the cat sat on the mat.", "a dog and another dog", "the moon rose over the hills, and"] * 20
CHINESE = ["猫坐在垫子上。", "床前明月光，疑是地上霜。", "一只狗 and 另一只狗"] * 20


def trained(texts, size=60, **settings) -> bytes:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=out,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **settings,
    )
    return out.getvalue()


def pieces(data: bytes) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    return [model.id_to_piece(i) for i in range(model.get_piece_size()) if not model.is_control(i)]


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A Marian as opus-mt has them: two models of pieces, one vocabulary, <pad> last."""
    folder = tmp_path_factory.mktemp("opus-mt-en-zh")
    source, target = trained(ENGLISH), trained(CHINESE)
    known = {"</s>": 0, "<unk>": 1}
    for piece in [*pieces(source), *pieces(target), ">>cmn<<", "<pad>"]:
        known.setdefault(piece, len(known))
    pad = known["<pad>"]
    model = theirs(
        "marian", spread=0.6, vocab_size=len(known), eos_token_id=0, pad_token_id=pad, decoder_start_token_id=pad
    )
    model.generation_config.update(num_beams=3, max_length=20, bad_words_ids=[[pad]])
    model.save_pretrained(folder)
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    (folder / "vocab.json").write_text(json.dumps(known, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "zh"}))
    return folder


@pytest.fixture(scope="module")
def run(marian, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert command(["import", str(marian), str(out)]) == 0
    return out


def test_a_marian_is_the_same_as_in_transformers(marian, tmp_path, capsys):
    assert command(["import", str(marian), str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "the same as in transformers" in said
    assert "on 6 prompts, greedy text equal on 4 of 4, token ids equal on 16 of 16 lines" in said


def test_each_side_has_its_pieces_and_both_have_the_same_ids(run, marian):
    theirs, ours = transformers.MarianTokenizer.from_pretrained(marian), Tokenizer.load(run)
    for text in ["the cat", "猫坐在 a dog", "  垫子。 \n", ">>cmn<< the cat"]:
        assert ours.source.encode(text) == theirs(text, add_special_tokens=False).input_ids
        assert ours.encode(text) == theirs(text_target=text, add_special_tokens=False).input_ids
    everything = [id for id in range(ours.vocab_size) if id not in (1, ours.eos_id, ours.bos_id)]
    assert ours.decode(everything) == theirs.decode(everything)
    assert ours.source.decode(ours.source.encode("the cat sat")) == "the cat sat"
    assert ours.token_text(ours.bos_id) == "<pad>"
    assert ours.token_text(ours.eos_id) == "</s>"


@torch.no_grad()
def test_a_marian_translates_as_there(run, marian):
    model = transformers.MarianMTModel.from_pretrained(marian).eval()
    tokenizer = transformers.MarianTokenizer.from_pretrained(marian)
    generator = TextGenerator.load(run)
    texts = ["the cat sat on the mat.", "a dog"]
    for text in texts:
        given = tokenizer(text, return_tensors="pt")
        expected = model.generate(**given, max_new_tokens=12, early_stopping=False)[0, 1:]
        found = generator.generate(text, max_tokens=12)  # with three beams, by the settings that came along
        assert found.text == tokenizer.decode(expected, skip_special_tokens=True)
    translator = Translator.load(run)
    assert translator.languages == ("en", "zh")
    done = translator.translate(texts, max_tokens=12, aligned=True)
    assert all(one.text and one.sentences[0].alignment.links for one in done)
    again = Translator.load(run, prefix=">>cmn<< ").translate(texts, max_tokens=12)
    by_hand = translator.translate([">>cmn<< " + text for text in texts], max_tokens=12, split=False)
    scores = [[one.sentences[0].score for one in some] for some in (again, by_hand, done)]
    assert scores[0] == pytest.approx(scores[1]) != pytest.approx(scores[2])


@torch.no_grad()
def test_a_translation_is_scored_after_its_source(run, marian):
    model = transformers.MarianMTModel.from_pretrained(marian).eval()
    tokenizer = transformers.MarianTokenizer.from_pretrained(marian)
    given = tokenizer("the cat", text_target="猫坐在垫子上。", return_tensors="pt")
    loss = model(**given).loss
    score = TextGenerator.load(run).score("猫坐在垫子上。", prompt="the cat", include_eos=True)
    assert -score.log_prob / score.num_tokens == pytest.approx(float(loss), rel=1e-4)


@pytest.fixture(scope="module", params=["t5-gated", rarely("t5"), rarely("mt5")])
def t5(request, tmp_path_factory):
    """A T5 or mT5 of either kind, its pieces in spiece.model; fewer pieces than rows of the embedding."""
    folder = tmp_path_factory.mktemp(request.param)
    data = trained(ENGLISH + CHINESE, 90, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    ids = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    model = theirs(request.param, vocab_size=256, n_positions=64, **ids)
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(data)
    return folder


@torch.no_grad()
def test_a_t5_is_the_same_as_in_transformers(t5, tmp_path, capsys):
    assert command(["import", str(t5), str(tmp_path / "run")]) == 0
    assert "greedy text equal on 4 of 4, token ids equal on 16 of 16 lines" in capsys.readouterr().out
    run = load_run(tmp_path / "run")
    generator, tokenizer = TextGenerator(run.model, run.tokenizer), run.tokenizer
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(t5).eval()
    source, target = "translate English to Chinese: the cat", "猫坐在"
    ids, answer = (torch.tensor([[*tokenizer.encode(text), 1]]) for text in (source, target))
    expected = model.generate(ids, max_new_tokens=12, do_sample=False)[0, 1:].tolist()
    assert generator.generate(source, temperature=0, max_tokens=12).token_ids == expected
    score = generator.score(target, prompt=source, include_eos=True)
    assert -score.log_prob / score.num_tokens == pytest.approx(
        float(model(input_ids=ids, labels=answer).loss), rel=1e-4
    )
    assert run.generation["temperature"] == 0


def test_a_t5_comes_out_again_bit_for_bit(t5, tmp_path, capsys):
    run, back = tmp_path / "run", tmp_path / "back"
    assert command(["import", str(t5), str(run), "--no-check"]) == 0
    assert command(["export", str(run), str(back)]) == 0
    assert "the same as in transformers" in capsys.readouterr().out
    first, second = (transformers.AutoModelForSeq2SeqLM.from_pretrained(place) for place in (t5, back))
    assert type(first) is type(second)
    weights = second.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(back)
    ids = tokenizer("the cat", return_tensors="pt").input_ids
    assert ids[0].tolist() == [*Tokenizer.load(run).encode("the cat"), 1]
    assert command(["import", str(back), str(tmp_path / "again")]) == 0  # by its tokenizer.json now
    assert torch.equal(*(model.generate(ids, max_new_tokens=9, do_sample=False) for model in (first, second)))


def test_an_encoder_decoder_of_our_own_goes_out_if_it_is_a_t5(tmp_path, capsys):
    own = {"type": "encoder-decoder", "hidden_size": 16, "num_layers": 2, "num_heads": 2}
    random_run(tmp_path / "t5", **own, positions="relative", attention_scale=1.0)
    random_run(tmp_path / "rotary", **own)
    assert command(["export", str(tmp_path / "t5"), str(tmp_path / "out")]) == 0
    assert "the same as in transformers" in capsys.readouterr().out
    assert command(["export", str(tmp_path / "rotary"), str(tmp_path / "other")]) == 2
    told = capsys.readouterr().err
    assert "has no " in told
    assert "positions = 'rotary'" in told
    assert told.count("\n") == 1


def test_what_has_two_tokenizers_does_not_go_out(run, tmp_path, capsys):
    assert command(["export", str(run), str(tmp_path / "back")]) == 2
    assert "one tokenizer.json cannot do both" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_a_t5_translates_when_it_is_told_to(t5, tmp_path, capsys):
    assert command(["import", str(t5), str(tmp_path / "run"), "--no-check"]) == 0
    translate = ["translate", str(tmp_path / "run"), "the cat", "--set", "max_tokens=5"]
    assert command(translate) == 2
    said = capsys.readouterr().err
    assert "was trained for no task" in said
    assert "--prefix" in said
    assert command([*translate, "--prefix", "to Chinese: ", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert command([*translate, "--prefix", "to German: ", "--json"]) == 0
    (other,) = json.loads(capsys.readouterr().out)
    assert told["source"] == other["source"] == "the cat"
    assert told["sentences"][0]["score"] != other["sentences"][0]["score"]


def test_sentinels_of_t5_are_where_they_are_there():
    t5 = with_sentinels(read_model(trained(ENGLISH, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)))
    pieces = [piece.text for piece in t5.pieces]
    assert pieces[-100:] == [f"<extra_id_{99 - i}>" for i in range(100)]


def test_a_missing_half_of_a_tokenizer_is_named(marian, tmp_path, capsys):
    there = tmp_path / "there"
    shutil.copytree(marian, there)
    (there / "target.spm").unlink()
    assert command(["import", str(there), str(tmp_path / "run")]) == 1
    assert "has no target.spm" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("source.spm", "", "source.spm: it is no SentencePiece model"),
        ("vocab.json", '{"<unk>": 0, "a": 2}', "vocab.json: its 2 tokens do not have the ids from 0 on"),
        ("vocab.json", '{"<unk>": "0"}', "vocab.json: its 1 tokens do not have"),
        ("vocab.json", "{}", "vocab.json: its 0 tokens"),
        ("vocab.json", '{"a": 0, "b": 1}', "target.spm: its SentencePiece model has no piece for what is unknown"),
        ("vocab.json", '{"<unk>": 0, "a": 1}', " is no token of its tokenizer"),
    ],
)
def test_what_is_wrong_with_a_marian_is_told_in_one_line(name, text, told, marian, tmp_path, capsys):
    there = tmp_path / "there"
    shutil.copytree(marian, there)
    (there / name).write_text(text)
    assert command(["import", str(there), str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
