"""A translator keeps lines and terms, prefers hypotheses without faults, and says what looks wrong."""

from types import SimpleNamespace

import pytest
import torch
from toys import CharTokenizer

from nextword.applied import translator as module
from nextword.applied.alignment import Alignment, words
from nextword.applied.answers import Answer
from nextword.applied.guard import faults
from nextword.applied.translator import Translator
from nextword.errors import DataError, UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.text.placeholders import SYMBOLS
from nextword.text.sentences import joined
from nextword.text.terms import lost_numbers, read_glossary, unmarked, wanted_terms


@pytest.fixture
def said(monkeypatch):
    """What the model would say: source -> its hypotheses. With required words, those of (source, words)."""
    book: dict = {}

    def answers(generator, prompts, settings, told=lambda said: None):
        found = []
        for i, prompt in enumerate(prompts):
            required = tuple(settings(i).get("required_words", ()))
            hypotheses = book[(prompt, required) if required else prompt]
            generations = [
                SimpleNamespace(text=f" {text}", score=-float(n), finish_reason="eos")
                for n, text in enumerate(hypotheses)
            ]
            found.append(Answer(generations, 0))
            told(prompt)
        return found

    monkeypatch.setattr(module, "answers", answers)
    return book


@pytest.fixture
def translator():
    tokenizer = CharTokenizer("abcdefghijklmnopqrstuvwxyz .,0123456789:/éà①②③④⑤⑥⑦⑧⑨")
    torch.manual_seed(0)
    settings = {"type": "gru", "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    return Translator(TextGenerator(build_model(model_config(settings)).eval(), tokenizer), ("en", "fr"))


def test_a_text_is_translated_by_sentences(translator, said):
    said |= {"One.": ["Un."], "Two.": ["Deux."], "One. Two.": ["Un deux."]}
    found = translator.translate(["One. Two.", "", "Two."])
    assert [one.text for one in found] == ["Un. Deux.", "", "Deux."]
    assert [one.text for one in translator.translate(["One. Two."], split=False)] == ["Un deux."]


def test_the_best_hypothesis_without_a_fault_counts(translator, said):
    loop = "va va va va va va va va"
    said["go"] = [loop, "allez", "vas-y"]
    (found,) = translator.translate(["go"], num_best=2, num_beams=3)
    assert (found.text, found.faults) == ("allez", [])
    assert found.sentences[0].alternatives == [("allez", -1.0), ("vas-y", -2.0)]
    said["go"] = [loop]
    (found,) = translator.translate(["go"])
    assert found.text == loop
    assert found.faults == ['says "va va va" 6 times']


def test_what_must_be_said_is_asked_for_again(translator, said):
    said["the bank at a.b in 1984"] = ["la rive en 1948"]
    said["the bank at a.b in 1984", ("banque", "1984")] = ["la banque en 1984"]
    (found,) = translator.translate(["the bank at a.b in 1984"], glossary={"bank": "banque"})
    assert (found.text, found.faults) == ("la banque en 1984", [])


def test_numbers_and_addresses_of_its_own_are_faults_where_the_source_has_some(translator, said):
    asked = "read http://a.b/c"
    said[asked], said[asked, ("http://a.b/c",)] = ["lis"], ["lis http://a.b htt http://a.b/c", "va http://a.b/c"]
    (found,) = translator.translate([asked])
    assert (found.text, found.faults) == ("va http://a.b/c", [])
    said["2,500 dogs"] = ["2 500 chiens en 1984"]
    (found,) = translator.translate(["2,500 dogs"])
    assert found.faults == ["says '1984', which the source does not"]
    said["twelve dogs"] = ["12 chiens"]
    (found,) = translator.translate(["twelve dogs"])
    assert found.faults == []


def test_what_is_still_missing_is_told(translator, said):
    said |= {"bank": ["rive"], ("bank", ("banque",)): ["rive"], ("bank", (" banque ",)): ["rive"]}
    (found,) = translator.translate(["bank"], glossary={"bank": "banque"})
    assert found.faults == ["lacks 'banque'"]
    said["the 漢"] = ["le"]  # no token for it, so it cannot be required
    (found,) = translator.translate(["the <keep>漢</keep>"])
    assert found.faults == ["lacks '漢'"]


def test_a_term_within_a_longer_word_is_none(translator, said):
    said["a dog"] = ["un chat", "le chien"]
    (found,) = translator.translate(["a dog"], glossary={"dog": "chien"})
    assert (found.text, found.faults) == ("le chien", [])  # found at once, if not the likeliest
    said["a dog"], said["a dog", ("chien",)] = ["un chat"], ["un chat chienne", "chiendent"]
    said["a dog", (" chien ",)] = ["un chien ."]
    (found,) = translator.translate(["a dog"], glossary={"dog": "chien"})
    assert (found.text, found.faults) == ("un chien .", [])
    said["a dog", (" chien ",)] = ["chien va va va va va va va va"]
    (found,) = translator.translate(["a dog"], glossary={"dog": "chien"})
    assert found.faults == ['says "va va va" 6 times']


@pytest.fixture
def with_placeholders(translator):
    """One that has learned with them."""
    return Translator(translator.generator, ("en", "fr"), SYMBOLS)


def test_values_come_back_where_placeholders_stand(with_placeholders, said):
    said["call ① at ②."] = ["à ②, appelle le ①."]
    (found,) = with_placeholders.translate(["call 555-0199 at 17:45."])
    assert (found.text, found.faults) == ("à 17:45, appelle le 555-0199.", [])
    said["① men, ② dogs"] = ["② chiens, ① hommes"]
    (found,) = with_placeholders.translate(["2,500 men, 25 dogs"])
    assert (found.text, found.faults) == ("25 chiens, 2\u202f500 hommes", [])


def test_a_placeholder_that_is_missing_is_asked_for_and_one_too_many_is_a_fault(with_placeholders, said):
    said["① and ②"] = ["① et"]
    said["① and ②", ("②", "①")] = ["① et ② et ②", "① et ②"]
    (found,) = with_placeholders.translate(["10 and 20"])
    assert (found.text, found.faults) == ("10 et 20", [])
    said["① and ②", ("②", "①")] = ["① et ② et ②"]
    (found,) = with_placeholders.translate(["10 and 20"])
    assert (found.text, found.faults) == ("10 et 20 et 20", ["says '20' 2 times"])  # rather than not at all


def test_what_is_all_values_may_be_its_source(with_placeholders, said):
    said["① ② ③ ④ ⑤"] = ["① ② ③ ④ ⑤"]
    (found,) = with_placeholders.translate(["10 20 30 40 www.a.b/c/d/e/f"])
    assert (found.text, found.faults) == ("10 20 30 40 www.a.b/c/d/e/f", [])
    said["go ①"] = ["va ① ① ① ① ① ①"]
    said["go ①", ("①",)] = said["go ①"]
    (found,) = with_placeholders.translate(["go 12"])
    assert found.faults == ['says "12 12 12" 4 times', "says '12' 6 times"]


def test_a_placeholder_that_stands_for_nothing_is_a_fault(with_placeholders, said):
    said["go"] = ["① va", "va"]
    (found,) = with_placeholders.translate(["go"])
    assert (found.text, found.faults) == ("va", [])
    said["go"] = ["① va"]
    (found,) = with_placeholders.translate(["go"])
    assert (found.text, found.faults) == ("va", ["has a value that the source has not"])


def test_what_is_kept_is_a_placeholder_and_a_term_is_none(with_placeholders, said):
    said["press ① in the bank"] = ["presse ① dans la rive"]
    said["press ① in the bank", ("banque", "①")] = ["presse ① dans la banque"]
    (found,) = with_placeholders.translate(["press <keep>a + b</keep> in the bank"], glossary={"bank": "banque"})
    assert (found.text, found.faults) == ("presse a + b dans la banque", [])


def test_what_is_kept_is_no_place_to_part_sentences(with_placeholders, said):
    said |= {"say ① there.": ["dis ① la."], "go.": ["va."]}
    (found,) = with_placeholders.translate(["say <keep>a. b</keep> there. go."])
    assert (found.text, found.faults) == ("dis a. b la. va.", [])


def test_a_term_with_a_number_is_asked_for_with_its_placeholder(with_placeholders, said):
    said["run ① now"] = ["① va"]
    said["run ① now", ("fenetre ①",)] = ["fenetre ① va"]
    (found,) = with_placeholders.translate(["run 11 now"], glossary={"run 11": "fenetre 11"})
    assert (found.text, found.faults) == ("fenetre 11 va", [])


@pytest.fixture
def attended(monkeypatch):
    """The pairs that were aligned; every word of a translation attends to the first of its source."""
    pairs = []

    def align(generator, given):
        pairs.extend(given)
        split = [(words(source), words(target)) for source, target in given]
        return [Alignment(here, there, [(0, i, 0.5) for i in range(len(there))]) for here, there in split]

    monkeypatch.setattr(module, "align", align)
    return pairs


def test_words_of_values_are_aligned_with_those_of_their_values(with_placeholders, said, attended):
    said["go to ① at ②."] = ["③ va à ②①."]
    (found,) = with_placeholders.translate(["go to <keep>the  bank</keep> at 2,500."], aligned=True)
    assert attended == [("go to ① at ②.", "va à ② ①.")]
    assert found.text == "va à 2\u202f500 the  bank."
    assert found.alignment.source == ["go", "to", "the", "bank", "at", "2,500."]
    assert found.alignment.target == ["va", "à", "2", "500", "the", "bank."]
    assert found.alignment.pharaoh() == "0-0 0-1 5-2 5-3 2-4 3-5"
    assert [share for *_, share in found.alignment.links] == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_words_aligned_are_those_of_the_source_as_it_is_written(with_placeholders, said, attended):
    with_placeholders.languages = ("zh", "en")
    said["在①年有②人,③"] = ["① in ②, ③"]
    (found,) = with_placeholders.translate(["在１９８４年有2.5萬人,①"], aligned=True)
    assert found.text == "1984 in 25,000, ①"
    assert found.alignment.source == ["在", "１９８４", "年", "有", "2.5", "萬", "人", ",①"]
    assert found.alignment.pharaoh() == "1-0 0-1 4-2 7-3"
    said["① ② ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨ ①"] = ["② ① ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨"]  # the last is not hidden: there are no more symbols
    (found,) = with_placeholders.translate(["<keep>a b</keep> 12 13 14 15 16 17 18 19 ①"], aligned=True)
    assert found.alignment.source == ["a", "b", "12", "13", "14", "15", "16", "17", "18", "19", "①"]
    assert found.alignment.pharaoh().startswith("2-0 0-1 1-2 3-3 ")  # by the ① that is hidden, not by the text's own


def test_of_a_tokenizer_that_lacks_some_placeholders_the_others_are_used(translator, said):
    translator.generator.tokenizer = CharTokenizer("abcdefghijklmnopqrstuvwxyz ①③")
    said["go ① or ③ or 20"] = ["va ③ ou ①"]
    said["go ① or ③ or 20", ("①", "③")] = ["va ③ ou ① ou 20"]
    (found,) = Translator(translator.generator, ("en", "fr"), "①③").translate(["go 18 or 19 or 20"])
    assert (found.text, found.faults) == ("va 19 ou 18 ou 20", [])


def test_no_translation_is_many_times_as_long_as_its_source(translator):
    (found,) = translator.translate(["abc"], ignore_eos=True, temperature=0)
    assert 0 < len(found.text) <= 2 * 3 + 20
    assert "has no end" in found.faults


def test_more_is_not_asked_for_than_is_searched(translator, said):
    with pytest.raises(UsageError, match=r"6 translations of 5 beams"):
        translator.translate(["go"], num_best=6, num_beams=5)


def test_languages(translator):
    translator.check_languages("en", "fr")
    translator.check_languages("", "FR")
    with pytest.raises(UsageError, match=r"translates from en to fr, not to de. Use a run"):
        translator.check_languages("en", "de")
    with pytest.raises(UsageError, match=r"does not know its languages"):
        Translator(translator.generator).check_languages("en", "")


@pytest.mark.parametrize(
    ("text", "glossary", "expected"),
    [
        ("A bank, the banks; Bank!", {"bank": "banque"}, ["banque"]),
        ("the bank account", {"bank": "banque", "bank account": "compte"}, ["compte"]),
        ("embankment", {"bank": "banque"}, []),
        ("我在银行工作", {"银行": "bank"}, ["bank"]),
        ("C++ and C", {"c++": "C++"}, ["C++"]),
        (
            "İstanbul, 5 µm",
            {"istanbul": "Stamboul", "μm": "um"},
            ["Stamboul", "um"],
        ),  # case of letters that have several
        ("in May I may", {"may": "peut", "May": "mai"}, ["mai", "peut"]),
        ("สวัสดีสมชาย", {"สมชาย": "Somchai"}, ["Somchai"]),
        ("Seoul에서", {"Seoul": "Séoul"}, ["Séoul"]),
        ("9 m² of CO₂", {"m": "metre", "CO": "carbon monoxide"}, []),
        ("रामायण", {"राम": "Rama"}, []),  # a mark goes on with the word
        ("see (https://a.b/c?d=1), or x@y.org.", {}, ["https://a.b/c?d=1", "x@y.org"]),
    ],
)
def test_terms_are_whole_words(text, glossary, expected):
    assert wanted_terms(text, glossary) == expected


def test_numbers_may_be_written_otherwise():
    assert lost_numbers("2,500.50 and 7", "2 500,50 et sept") == []
    assert lost_numbers("1984 with 2500", "1984 2500") == []
    assert lost_numbers("1,234 dogs", "1111,234 chiens") == ["1,234"]
    assert lost_numbers("http://a.b/12345", "x") == []
    assert lost_numbers("共1984人", "1948 people") == ["1984"]
    assert lost_numbers("第１２章", "Chapter 12") == lost_numbers("Chapter 12", "第１２章") == []
    assert lost_numbers("第１２章", "Chapter") == ["12"]
    assert unmarked("a <keep>b c</keep><keep> </keep>") == ("a b c ", [(2, 5)])


def test_a_glossary_is_pairs(tmp_path):
    path = tmp_path / "g.tsv"
    path.write_text("\ufeffbank\tbanque\n\n银行\tbank\n", encoding="utf-8")
    assert read_glossary(path) == {"bank": "banque", "银行": "bank"}
    for text, message in (
        ("a\n", r"g.tsv:1: expected a term, a tab"),
        ("a\tb\na\tc\n", r"g.tsv:2: 'a' is 'b' already"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_glossary(path)
    with pytest.raises(DataError, match=r"none.tsv: no such file"):
        read_glossary(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("source", "translation", "ended", "expected"),
    [
        ("缓缓走来", "Come on, come on, come on, come on, come on, come on.", True, ['says "come on come" 5 times']),
        ("He came.", "Il est venu.", True, []),
        ("no no no no no no", "non non non non non non", True, []),
        ("one two three four", "one two three four", True, ["is the source"]),
        ("Tom Mary", "Tom Mary", True, []),
        ("Go", "", True, ["is empty"]),
        ("...", "...", True, []),
        ("Go", "Va", False, ["has no end"]),
        ("word " * 40, "mot", True, ["is much shorter: 1 word for 40"]),
        ("Go", "a b c d e f g h i j k l m", True, ["is much longer: 13 words for 1"]),
    ],
)
def test_faults(source, translation, ended, expected):
    assert faults(source, translation, ended) == expected


def test_sentences_are_joined_as_their_script_is():
    assert joined(["Il dit « non ».", "Bien…", "Oui."]) == "Il dit « non ». Bien… Oui."
    assert joined(["走。", "Go.", "走。"]) == "走。Go. 走。"
