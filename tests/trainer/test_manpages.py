#!/usr/bin/env python3
"""scripts/data: prose out of manual pages, and how the lines of a set are chosen. On small pages of its own, without packages."""
import importlib.util
import pathlib
import sys
import unittest
from importlib.machinery import SourceFileLoader

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "data"
sys.dont_write_bytecode = True
sys.path.insert(0, str(FOLDER))
loader = SourceFileLoader("manpages", str(FOLDER / "manpages"))
manpages = importlib.util.module_from_spec(importlib.util.spec_from_loader("manpages", loader))
loader.exec_module(manpages)
roff = manpages.roff

PAGE = r""".\" A comment
.TH LS 1
.SH BESCHREIBUNG
Zeigt den \fBInhalt\fP eines
.I Ordners
an. Siehe
.BR dir (1),
zweiter Satz.
.TP
\fB\-\-all\fP
alles \(aqauch\(aq das \[u201E]Verborgene\*(rq
.nf
int main(void);
.fi
.PP
.B "Zwei Worte"
am Ende
.ig
nicht dies
..
.TS
a b
.TE
    eingerueckt
"""


class Roff(unittest.TestCase):
    def test_keeps_prose_alone(self):
        self.assertEqual(list(roff.paragraphs(PAGE)), [
            "Zeigt den Inhalt eines Ordners an. Siehe dir(1), zweiter Satz.",
            "alles 'auch' das \u201eVerborgene", "Zwei Worte am Ende"])

    def test_leaves_mdoc_alone(self):
        self.assertEqual(list(roff.paragraphs(".Dd today\n.Sh NAME\ntext\n")), [])

    def test_takes_anything(self):
        for page in ["", "\\", ".", "'", ".B", ".TP", ".nf", "\\f", "\\(", "\\[u110000]", "\\[uD800]", '.B "', "\\[u00DF]"]:
            "".join(roff.paragraphs(page)).encode()


class Lines(unittest.TestCase):
    def test_prose(self):
        self.assertTrue(manpages.is_prose("Zeigt den Inhalt eines Ordners an", "de"))
        self.assertFalse(manpages.is_prose("zu kurz", "de"))
        self.assertFalse(manpages.is_prose("Zeigt den Inhalt eines Ordners an: a = b", "de"))
        self.assertFalse(manpages.is_prose("dasselbe wie -icrnl -inlcr -ixon und mehr", "de"))
        self.assertFalse(manpages.is_prose("a" * 301, "de"))
        self.assertFalse(manpages.is_prose("print the contents of a folder", "ru"))
        self.assertTrue(manpages.is_prose("\u5f53\u8fdb\u884c\u975e\u5f3a\u5236\u7684\u8f6c\u6362\u7684\u65f6\u5019", "zh"))

    def test_english_is_left_out_of_other_languages(self):
        english = ["the file is read from the disk", "this is the name of the file", "it is not in the list"]
        german = ["die Datei wird von der Platte gelesen", "dies ist der Name der Datei", "sie ist nicht in der Liste"]
        languages = {"en": {"p": english * 3}, "de": {"p": german * 3, "q": ["the name of the file"]}}
        manpages.drop_english(languages)
        self.assertEqual(languages["de"], {"p": german * 3, "q": []})
        self.assertEqual(languages["en"], {"p": english * 3})

    def test_pages_are_split_and_no_line_comes_twice(self):
        languages = {language: {f"man1/{page}": [f"{language} {page} {'abcdefghij'[line]}" for line in range(10)]
                                for page in "klmnopqrstuvwxyz"} for language in ("de", "en")}
        for pages in languages.values():
            pages["man1/k"] += ["in both languages", "twice in one", "twice in one"]
        languages["en"]["man1/k"].remove("twice in one")
        languages["en"]["man1/k"].remove("twice in one")
        train, test = manpages.choose(languages)
        pages = [{row["page"] for row in part} for part in (train, test)]
        self.assertFalse(pages[0] & pages[1])
        self.assertEqual({p[3:] for p in pages[1] if p[:2] == "de"}, {p[3:] for p in pages[1] if p[:2] == "en"})
        texts = [row["text"] for row in train + test]
        self.assertEqual(len(texts), len(set(texts)))
        self.assertNotIn("in both languages", texts)
        self.assertEqual(texts.count("twice in one"), 1)
        self.assertEqual(len(texts), 321)
        self.assertEqual({row["site"] for row in train}, {"east", "north"})  # their own, and the neighbour
        self.assertEqual((train, test), tuple(manpages.choose(languages)))


if __name__ == "__main__":
    unittest.main()
