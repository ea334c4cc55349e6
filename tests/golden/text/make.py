# SPDX-License-Identifier: MIT
"""Makes the files of this directory: two tiny SentencePiece models, vocabularies over their pieces,
and what transformers' MarianTokenizer makes of some texts and ids.

    python make.py          needs sentencepiece and transformers; the tests need neither
"""
import json
import os
import random
import tempfile
import warnings

import sentencepiece
from transformers import MarianTokenizer

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))

SOURCE = """the small cat sat on the mat and looked at the bird in the tree
a small bird sang in the morning while the cat was asleep
she reads a book about the sea and the old man who lived there
we went to the market to buy bread, apples and a little cheese
it was raining, so they stayed at home and played with the cat
he asked: "where is the book that was on the table?"
nothing is as good as fresh bread in the morning!
the old man told them about the sea; they listened all night.
一只小猫坐在垫子上，看着树上的小鸟。
早上，小鸟在唱歌，小猫在睡觉。
她在读一本关于大海的书。
我们去市场买了面包和苹果。""".split("\n")
TARGET = """die kleine Katze saß auf der Matte und sah den Vogel im Baum an
ein kleiner Vogel sang am Morgen, während die Katze schlief
sie liest ein Buch über das Meer und den alten Mann, der dort lebte
wir gingen auf den Markt, um Brot, Äpfel und ein wenig Käse zu kaufen
es regnete, also blieben sie zu Hause und spielten mit der Katze
er fragte: "wo ist das Buch, das auf dem Tisch lag?"
nichts ist so gut wie frisches Brot am Morgen!""".split("\n")

# Rules of the normaliser: full width and ligatures, compositions, blanks, removals.
RULES = [([0xFF01 + i], [0x21 + i]) for i in range(94)]
RULES += [([0x3000], [0x20]), ([0x09], [0x20]), ([0x00A0], [0x20]), ([0xFB01], [0x66, 0x69])]
RULES += [([0x65, 0x301], [0xE9]), ([0x41, 0x30A], [0xC5]), ([0x01], []), ([0x200B], [])]
RULES += [([0x2025], [0x2E, 0x2E]), ([0x2026], [0x2E, 0x2E, 0x2E])]

TEXTS = ["", " ", " \t\u3000 ", "the cat", " the  cat ", "The Cat sat!", "小猫在市场买书。", "cat小猫",
         "ｔｈｅ　ｃａｔ！？", "ﬁsh", "cafe\u0301 Å A\u030a", "a\u00a0b\u3000c\td", "a\u200bb\x01c\x02d", "…‥",
         "😀", "the 😀 cat 👩\u200d👧", "▁", "a ▁▁ b", "\u0300", "\ufffd", "\u2028x\x85", "die Käse Äpfel ß",
         "<s> & <0x41>", ">>eng<< the cat", ">>eng<<the cat", " >>eng<< cat", ">>eng<<", ">>", "<<>>", "x >>eng<<",
         "ไทย العربية עברית 한국어", "\U0010ffff", "a" * 50, "小" * 20, "the cat " * 10, "\x0b\x0c\r\n x \x1f"]


def train(name, sentences, **options):
    with tempfile.TemporaryDirectory() as directory:
        rules = os.path.join(directory, "rules.tsv")
        with open(rules, "w", encoding="utf-8") as f:
            for key, value in RULES:
                f.write(" ".join("%X" % c for c in key) + "\t" + " ".join("%X" % c for c in value) + "\n")
        prefix = os.path.join(directory, "spm")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences * 3), model_prefix=prefix, normalization_rule_tsv=rules,
            num_threads=1, minloglevel=2, unk_id=1, eos_id=0, bos_id=-1, hard_vocab_limit=False, **options)
        with open(prefix + ".model", "rb") as f:
            data = f.read()
    path = os.path.join(HERE, name)
    with open(path, "wb") as f:
        f.write(data)
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    return path, [model.id_to_piece(i) for i in range(model.get_piece_size())]


def write(name, value):
    path = os.path.join(HERE, name)
    with open(path, "w", encoding="utf-8") as f:
        if isinstance(value, list):
            f.write("[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]\n")
        else:
            json.dump(value, f, ensure_ascii=False, indent=0)
    return path


def number(pieces):
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def cases(tokenizer, name, rng):
    # Texts of target ids come from the target's model. (transformers 5 takes the source's by
    # default where the vocabulary is shared, which matters for byte pieces alone.)
    rows = []
    for text in TEXTS:
        if name == "separate" and text.startswith(">>eng"):
            continue  # transformers takes any code, we take those that the vocabulary has
        source = tokenizer(text)["input_ids"]
        target = tokenizer(text_target=text)["input_ids"][:-1]
        decoded = tokenizer.decode(target, skip_special_tokens=True, use_source_tokenizer=False)
        rows.append({"set": name, "text": text, "source": source, "target": target, "decoded": decoded})
    for _ in range(20):
        ids = [rng.randrange(len(tokenizer.decoder)) for _ in range(rng.randrange(1, 12))]
        ids = [i for i in ids if tokenizer.decoder[i] != "<pad>"]
        decoded = tokenizer.decode(ids, skip_special_tokens=True, use_source_tokenizer=False)
        rows.append({"set": name, "target": ids, "decoded": decoded})
    return rows


def main():
    rng = random.Random(7)
    source, source_pieces = train("source.spm", SOURCE, vocab_size=150, model_type="unigram")
    target, target_pieces = train("target.spm", TARGET, vocab_size=360, model_type="bpe", byte_fallback=True)
    shuffled = source_pieces[2:] + target_pieces[2:]
    rng.shuffle(shuffled)
    # The first few pieces are known to a model alone.
    shared = write("shared.json", number(["</s>", "<unk>"] + shuffled[7:] + [">>eng<<", "<pad>"]))
    # transformers leaves special tokens out by their source ids, so these are the same in both.
    separate = write("separate.json", number(["</s>", "<unk>", "<pad>"] + source_pieces[:1:-1]))
    other = write("separate_target.json", number(["</s>", "<unk>", "<pad>"] + target_pieces[:1:-1]))
    rows = cases(MarianTokenizer(source, target, shared), "shared", rng)
    two = MarianTokenizer(source, target, separate, target_vocab_file=other, separate_vocabs=True)
    rows += cases(two, "separate", rng)
    write("cases.json", rows)


main()
