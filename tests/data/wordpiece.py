#!/usr/bin/env python3
"""Write wordpiece.tsv: python3 wordpiece.py VOCAB > wordpiece.tsv

The oracle of the tokenizer's test, not part of the build. Needs PyPI's `tokenizers` (made with 0.22.2). All texts are
this project's own. VOCAB is models/sst2-tiny/vocab.txt.
"""
import json
import random
import sys

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ['[UNK]', '[SEP]', '[PAD]', '[CLS]', '[MASK]']


def make(vocab, lower):
    t = Tokenizer(models.WordPiece.from_file(vocab, unk_token='[UNK]', max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.BertProcessing(*((s, t.token_to_id(s)) for s in ('[SEP]', '[CLS]')))
    t.add_special_tokens(SPECIAL)
    return t


PLAIN = """
|a quiet film that stays with you long after the lights come up .|The acting is superb, but the plot isn't!|It's neither good nor bad -- just there...
I laughed; I cried; I checked my watch (twice).|ALL CAPS AND NO PLAY|MiXeD cAsE WoRdS|"Quoted", 'single', `back`|a/b\\c|e-mail: someone@example.org
https://example.org/path?query=1&other=two#frag|100% of $5.00 = 5€, £4 or ¥700|3.14159 2,718,281 1e-9 0x1F|2+2=4 <b>bold</b> {curly} [square] ~tilde~ ^hat^ _under_score_ |pipe|
don't can't won't shouldn't've y'all|rock'n'roll|co-operation re-entry well-known|U.S.A. Ph.D. e.g. i.e. etc.|#hashtag @mention|:-) ;-) :( <3 ^_^
antidisestablishmentarianism|supercalifragilisticexpialidocious|pneumonoultramicroscopicsilicovolcanoconiosis|unbelievably mesmerizingly overacted melodramatics
x|xx|xyzzyx qqqqq zzzzzz|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|the the the the|one two three four five six seven eight nine ten eleven twelve|?!?!?!|...|. . .|----|a.b.c.d
not a bad movie at all , which is more than i expected|an hour too long and a joke too short|the director's third and weakest feature|breathtaking!!!
"""

UNICODE = [
    'caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00fcber fa\u00e7ade', 'cafe\u0301 nai\u0308ve u\u0308ber', 'CAF\u00c9 NA\u00cfVE \u00dcBER \u00c5NGSTR\u00d6M',
    'stra\u00dfe STRASSE \u1e9e', '\u0130stanbul I\u0131\u0130i \u0131l\u0131k', 'ISTANBUL I\u0307stanbul', '\u00f8re \u00d8RE \u00e6gir \u00c6GIR \u0153uvre \u0152UVRE \u0142\u00f3d\u017a',
    'o\ufb03ce \ufb01ne \ufb02ow \ufb05art', '\uff21\uff22\uff23 \uff41\uff42\uff43 \uff11\uff12\uff13', '\u2122 \u00a9 \u00ae \u2120', '\u00bd \u00be \u00b2 \u00b3 \u2075', '\u2167 \u216b \u2170',
    '\u4e2d\u6587\u7535\u5f71', 'a\u4e2db\u6587c', 'good\u7535\u5f71bad', '\u65e5\u672c\u306e\u6620\u753b', '\u30ab\u30bf\u30ab\u30ca \u3072\u3089\u304c\u306a', '\u30ac\u30ae\u30b0 \u304c\u304e\u3050', '\ud55c\uad6d\uc5b4 \uc601\ud654', '\u1112\u1161\u11ab\u1100\u116e\u11a8',
    '\U00020000\U0002a6d6x', '\uf900\uf901 \U0002f800', '\u3400\u4dbf \u4e00\u9fff', '\u3007\u3005\u3006', '\u3001\u3002\u300c\u300d\uff0c\uff01', '\u2e80\u2f00',
    'great \U0001f600\U0001f44d movie', '\U0001f469\u200d\U0001f469\u200d\U0001f467', '\U0001f1eb\U0001f1f7', '\u2764\ufe0f', '\u263a\ufe0e', '\U0001f44d\U0001f3fd', 'fun\U0001f389party',
    'a\u200db a\u200cb a\u200bb', 'so\u00adft hy\u00adphen', 'nbsp\u00a0here', 'thin\u2009space em\u2003space ideographic\u3000space', 'line\u2028sep para\u2029sep', 'a\u202fb\u205fc\u1680d', 'zero\ufeffwidth', 'rtl\u200f\u202emark\u202c',
    'tab\there', 'line\nbreak', 'carriage\r\nreturn', 'bell\x07esc\x1b[31mred', 'del\x7fete', 'c1\x85\x9fcontrol', 'v\x0bt f\x0cf', '\x01\x02\x03', 'a\ufffdb', '\ufffd', '\ue000private\uf8ff', '\U000f0000x',
    '\u2018single\u2019 \u201cdouble\u201d \u00abguillemets\u00bb', 'en\u2013dash em\u2014dash minus\u2212', 'ellipsis\u2026', '\u00bfqu\u00e9? \u00a1s\u00ed!', 'bullet\u2022 dagger\u2020 section\u00a7 para\u00b6', '\u00b7middle\u00b7dot', 'a\u00b4b a\u00a8b a\u00afb a\u00b8b',
    '\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ac\u03ad\u03ae', '\u1f82 \u1fb7 \u0390 \u03b0', '\u041f\u0440\u0438\u0432\u0435\u0442 \u0439\u043e\u0433 \u0401\u0436', '\u0415\u0308 \u0438\u0306', '\u0645\u0631\u062d\u0628\u0627 \u0645\u064e\u0631', '\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd', '\u0928\u092e\u0938\u094d\u0924\u0947', '\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u093c', '\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35', '\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd', '\u10d2\u10d0\u10db', '\u1e69 s\u0323\u0307 s\u0307\u0323 \u1e9b\u0323',
    'a\u0300\u0301\u0302\u0303\u0304\u0305b', '\u0301alone', ' \u0301 ', '.\u0301.', 'q\u0307\u0323', 'x\u20dd\u20e3', '1\ufe0f\u20e3', '\u302a\u302e\u302fa', '\u302fa\u302e', '\uac00\u302e\u302f\u0301b', 'a\U0001d165\U0001d16db', 'a\U0001d16d\U0001d165b', '\U0001d15e \U0001d400', '\u212b \u2126 \u212a elvin', '\u01c5 \u01c4 \u01f1', '\u0345 \u1fbe',
    'vi\u1ec7t nam ti\u1ebfng \u0110\u1ed3ng', '\u010ce\u0161tina \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148', 'polski za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144', 'T\u00fcrk\u00e7e \u011f\u015f\u00e7',
    '\u2460\u2461 \u3280 \u33a5', '\u2190\u2192 \u2200\u2203 \u2211', '\u2580\u2588 \u2500', '\u2800\u2801', '\u0660\u0661\u0662 \u0966', '\u066a \u066b \u061f \u060c', '\u0964 \u0965', '\u055a \u0589 \u05be \u05c0', '\u104a \u1361 \u1801',
    '+=<>|^~$`', '\u00ac\u00b1\u00d7\u00f7', '\u20ac\u20a3\u20b9', 'a_b-c.d', "'", '"', '\\', '\u2010\u2011\u2012', '\u203f\u2040\ufe33', '\uff08\uff09\uff3b\uff3d', '\uff04\uff0b\uff5e',
]

LIMITS = [
    'a' * 99, 'a' * 100, 'a' * 101, 'e' * 100 + ' e', '\u00e9' * 100, '\u00e9' * 101, 'e\u0301' * 100, 'e\u0301' * 101, '\u1f82' * 60, '.' * 120, '\u4e2d' * 120, 'q' * 100 + '.', 'x' * 300, '\U0001f600' * 100, '\U0001f600' * 101,
    'the ' * 600, 'movie.' * 400,
]

SPECIALS = [
    '[SEP]', '[CLS] a [SEP]', 'a[MASK]b', 'fill the [MASK] in', '[sep] [Mask]', '[ SEP ]', '[[SEP]]', '[UNK][PAD]', '[SE', '[SEP', 'x[SEP]\u4e2d[MASK]', '##ing', '## ing', 'a ##b', '[PAD] [PAD]', 'wait[SEP] what', '[MASK][MASK] .', '\u00e9[CLS]\u00e9',
]

PAIRS = [('a good film', 'a bad film'), ('', 'second only'), ('first only', ''), ('', ''), ('Caf\u00e9?', '\u4e2d\u6587!'), ('[SEP]', 'x'), ('the end', 'THE END'), ('why \U0001f600', 'because\u200d')]
POOL = ['the', 'film', 'wonder', 'ful', 'un', 'ing', 'Bad', 'GOOD', '\u00e9', '\u00dc', '\u4e2d', '\u0301', '\u0308', '\u0327', '\u0345', '\u302e', '\u200d', '\u00a0', ' ', ' ', ' ', '.', ',', "'", '-', '$', '\u2014', '\u00df', '\u0130', '\u03a3', '\U0001f600', '\ufb01', '\uac01', '\u0958', '\x07', '\t', '[MASK]', '7', '42', '\u00bd', '\u1e69', '\u0f73', '\u3000', '\ufffd']


def main():
    random.seed(1)
    vocab = sys.argv[1]
    tok = {lower: make(vocab, lower) for lower in (True, False)}
    rows = []
    for text in PLAIN.strip('\n').replace('\n', '|').split('|') + UNICODE + LIMITS + SPECIALS:
        rows.append((True, 512, text, None))
    for text in UNICODE[::3] + SPECIALS + LIMITS[:8]:
        rows.append((False, 512, text, None))
    for _ in range(150):
        rows.append((random.random() < 0.8, random.choice((512, 512, 16, 5)), ''.join(random.choices(POOL, k=random.randint(1, 25))), None))
    for a, b in PAIRS:
        rows.append((True, 128, a, b))
    words = 'one two three four five six seven eight nine ten'.split()
    for limit in (3, 4, 5, 8, 9, 12, 17):
        for n, m in ((0, 9), (9, 0), (1, 9), (9, 1), (3, 3), (5, 4), (4, 5), (9, 9), (10, 9), (9, 10), (2, 600), (600, 2), (600, 601), (601, 600)):
            if limit in (3, 8, 9) or n < 100:
                rows.append((True, limit, ' '.join(words[i % 10] for i in range(n)), ' '.join(words[-1 - i % 10] for i in range(m))))
    for limit in (511, 512):
        rows += [(True, limit, 'good ' * n, 'bad ' * m) for n, m in ((600, 601), (601, 600), (600, 600), (100, 600), (600, 100))]
    for limit in (3, 4, 7):
        rows += [(True, limit, text, None) for text in ('', 'one two', 'one two three four five', 'unbelievably')]
    print('# WordPiece vectors for models/sst2-tiny/vocab.txt, written by wordpiece.py with tokenizers ' + tokenizers.__version__ + '.')
    print('# The texts are this project\'s own. Columns: lower case, most tokens, text and pair (JSON), ids, tokens of type 0.')
    for lower, limit, a, b in rows:
        t = tok[lower]
        t.enable_truncation(limit, strategy='longest_first')
        e = t.encode(a, b)
        if b is None:
            first = len(e.ids)
        else:
            first = e.type_ids.index(1)
        assert e.type_ids == [0] * first + [1] * (len(e.ids) - first)
        print(int(lower), limit, json.dumps(a), json.dumps(b), ' '.join(map(str, e.ids)), first, sep='\t')


if __name__ == '__main__':
    main()
