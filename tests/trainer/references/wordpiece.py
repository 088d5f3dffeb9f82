#!/usr/bin/env python3
"""Makes wordpiece.json: texts and the ids that Hugging Face's tokenizers gives them.

    pip install tokenizers; wordpiece.py >wordpiece.json        (made with tokenizers 0.23.3)

tokenizer_test.cc holds Atoll's WordPiece to it; the tests do not run this script.
"""
import json
import random
import string

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["the", "un", "##aff", "##able", "##ing", "##ed", "runn", "want", "##want", "low", "##est", "##er", "new",
          "strasse", "##sse", "cafe", "naive", "uber", "##ber", "jalape", "##no", "istanbul", "hello", "world", "don",
          "мир", "при", "##вет", "και", "##ος", "한", "##국", "ᄒ", "##ᅡ", "##ᆫ"]
CJK = list("中文字漢語日本語の東京")
LETTERS = list(string.ascii_lowercase + "αβγδεζηθικλμνξοπρστυφχψωςабвгдежзийклмнопрстуфхцчшщъыьэюяßøłđıæœþðñ"
               "שלוםعربيहिंदीไทย" + string.digits)
CAPITALS = list(string.ascii_uppercase + "ÀÉÎÕÜÇŠŽŁØΑΒΓАБВИЙ") + list("àéîõüçšžėåäöñйёάέήί")
PUNCTUATION = list(string.punctuation + "«»„“”‘’…—–·¿¡、。「」（）！？€")
EMOJI = ["😀", "👍", "🏽", "❤", "\ufe0f", "\u200d", "🇩"]

TEXTS = [
    "", " ", "\t\n\r ", "Hello, World!", "unaffable", "UNwantéd,running", "don't", "new lowest lower",
    "Straße STRASSE Café naïve NAÏVE über Über jalapeño Jalapen\u0303o", "İstanbul ISTANBUL ıstanbul",
    "中文字 and 漢語", "日本語の東京abc", "ah\u535a\u63a8zz", "привет мир ПРИВЕТ Ёлка", "Και ΚΑΙ λόγος ΛΌΓΟΣ",
    "한국 한", "😀 👍🏽 a😀b ❤️", "a\u0000b\u0001c\ufffdd\u00ade\u200bf\u200eg", "x\u00a0y\u2003z\u3000w\u2028v\u0085u",
    "a" * 100, "a" * 101, "hello" + "a" * 100 + " world", "[CLS] [MASK] hello [SEP]", "wo\ufeffrld", "e\u0301\u0327\u0323",
    "\u0301a", "\u0378 hello\u0378", "\ue000x\U000f0000y", "ﬁ ﬂ ½ ² Ⅷ ㎏", "שָׁלוֹם עולם", "العَرَبِيَّة", "हिंदी कि", "ไทย",
    "U.S.A. e-mail: a@b.c #1 $2 %3 ^4 &5 *6 (7) _8_ +9 =0 `x` {y} |z| ~w~ <a>\\", "«ça» „ja“ ‘so’ … — ¿qué? ¡sí!",
    "\u1fbf\u037e\u0387\u2260\u226e", "\U0001d400\U0001d41a", "\u115f\u3164x",
]


def vocabularies():
    pieces = LETTERS + CJK + PIECES
    continued = ["##" + letter for letter in LETTERS + CJK]
    seen = dict.fromkeys(SPECIAL + PUNCTUATION + pieces + continued + EMOJI[:2])
    yield "uncased", list(seen)
    seen.update(dict.fromkeys(CAPITALS + ["##" + c for c in CAPITALS] + ["Hello", "World", "##\u0301"]))
    yield "cased", list(seen)


def random_texts(rng):
    pool = LETTERS + CJK + PIECES + CAPITALS + PUNCTUATION + EMOJI + [
        " ", "  ", "\t", "\u00a0", "\u0300", "\u0301", "\u0323", "\u0000", "\u007f", "\u200b", "\ufffd", "\u0378"]
    pool = [piece.removeprefix("##") for piece in pool]
    for _ in range(100):
        yield "".join(rng.choice(pool) for _ in range(rng.randrange(1, 30)))


def main():
    out = []
    for name, vocabulary in vocabularies():
        tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=name == "uncased")
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rows = [{"text": text, "ids": tokenizer.encode(text).ids}
                for text in TEXTS + list(random_texts(random.Random(7)))]
        out.append({"name": name, "vocabulary": vocabulary, "texts": rows})
    print("[" + ",\n".join(json.dumps(case, separators=(",", ":")).replace('{"text"', '\n{"text"') for case in out) + "]")


main()
