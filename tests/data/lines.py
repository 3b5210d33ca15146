#!/usr/bin/env python3
"""Write lines.tsv, what HF's tokenizers make of many lines: python3 lines.py WORDPIECE_VOCAB BPE_FOLDER > lines.tsv

The oracle of test_lines, not part of the build. Needs PyPI's `tokenizers` (made with 0.22.2). A line is made from its
number and lines.json, the same way here and in test_lines.c, so that the lines themselves need not be kept.

    python3 lines.py --parts > lines.json       the parts, all of this project's own
    python3 lines.py --train BPE_FOLDER TEXT... the byte-level vocabulary, from texts of this project's own
    python3 lines.py --line NUMBER              one of the lines, to look at
    python3 lines.py --hash KIND TEXT_FILE VOCAB_OR_FOLDER      a hash a line of a file, to compare once (test_lines --hash)
"""
import json
import os
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors

import wordpiece

MASK64 = (1 << 64) - 1
RANDOM_LINES, BLOCK, SWEEP = 10000, 8, 24
HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']


def draws(number):
    """splitmix64"""
    state = number
    while True:
        state = (state + 0x9e3779b97f4a7c15) & MASK64
        z = state
        z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & MASK64
        yield z ^ (z >> 31)


def line(parts, number):
    if number >= RANDOM_LINES:
        points, left = [], (number - RANDOM_LINES) * SWEEP
        for first, last in parts['points']:
            count = last - first + 1
            while left < count and len(points) < SWEEP:
                points.append(first + left)
                left += 1
            left -= min(left, count)
            if len(points) == SWEEP:
                break
        return ''.join(f'a{chr(c)}b ' for c in points)
    r, text = draws(number), ''
    for _ in range(1 + next(r) % 20):
        text += parts['words'][next(r) % len(parts['words'])]
        if next(r) % 3:
            text += ' '
    return text


def line_count(parts):
    points = sum(last - first + 1 for first, last in parts['points'])
    return RANDOM_LINES + (points + SWEEP - 1) // SWEEP


def cases(parts):
    """Text, pair and limit of each encoding: every tenth has the line before it as its pair, every seventh is cut."""
    for i in range(line_count(parts)):
        yield line(parts, i), line(parts, i - 1) if i % 10 == 9 else None, 16 if i % 7 == 6 else 512


class Hash:
    """64-bit FNV-1a"""
    def __init__(self):
        self.value = 0xcbf29ce484222325

    def add(self, data):
        for byte in data:
            self.value = ((self.value ^ byte) * 0x100000001b3) & MASK64

    def add_encoding(self, e):
        self.add(len(e.ids).to_bytes(4, 'little'))
        for token, kind in zip(e.ids, e.type_ids):
            self.add(token.to_bytes(4, 'little') + bytes([kind]))


def make_bpe(folder):
    t = Tokenizer(models.BPE.from_file(folder + '/vocab.json', folder + '/merges.txt'))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.add_special_tokens([AddedToken(s, normalized=False, lstrip=s == '<mask>') for s in SPECIAL])
    t.post_processor = processors.RobertaProcessing(*((s, t.token_to_id(s)) for s in ('</s>', '<s>')), trim_offsets=True, add_prefix_space=False)
    return t


def make(kind, where):
    return make_bpe(where) if kind == 'bpe' else wordpiece.make(where, kind == 'lower')


def encode(t, text, pair, limit):
    t.enable_truncation(limit, strategy='longest_first')
    return t.encode(text, pair)


def write_vectors(vocab, folder):
    parts = json.load(open(HERE + '/lines.json'))
    print(f'# {line_count(parts)} lines by lines.py, with tokenizers {tokenizers.__version__}: a hash of every {BLOCK}.')
    for kind in ('lower', 'cased', 'bpe'):
        t, h, done = make(kind, folder if kind == 'bpe' else vocab), Hash(), 0
        for text, pair, limit in cases(parts):
            h.add_encoding(encode(t, text, pair, limit))
            done += 1
            if done % BLOCK == 0 or done == line_count(parts):
                print(kind, f'{h.value:016x}', sep='\t')
                h = Hash()


def write_parts():
    """Words and oddities, and every character whose category has been the same from Unicode 3.2 on."""
    words = {w for w in wordpiece.PLAIN.replace('|', ' ').split()} | set(wordpiece.UNICODE) | set(wordpiece.SPECIALS) | set(wordpiece.POOL)
    words |= set('the of and to in is that it was for on with as his they be at one have this from by hot but some what there we can out other were all your when up use word how said an each she which do their time if will way about many then them'.split())
    words |= {f'{s}{c}' for s in ('I', 'you', 'WE', 'it', '', '\u00e9') for c in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "\u2019s", "'x")}
    words |= {'<s>', '</s>', '<pad>', '<unk>', '<mask>', ' <mask>', '\t <mask> ', '<mask', 's>', '  ', '   ', '\n', '\n\n', ' \n ', '\t\t', '\u00a0 ', ' \u3000', '\u2028', '\x85', '\x1c', '1234567', '3.14', '\u0663\u0664', '\u2160\u00bc', 'x' * 60, '!' * 12, '-' * 30}
    old, ranges = unicodedata.ucd_3_2_0, []
    for c in range(1, 0x110000):
        category = unicodedata.category(chr(c))
        if category in ('Cn', 'Cs', 'Co') or old.category(chr(c)) != category:
            continue
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print(json.dumps({'words': sorted(words), 'points': ranges}, separators=(',', ':')))


def train(folder, texts):
    t = ByteLevelBPETokenizer(add_prefix_space=False)
    t.train(texts, vocab_size=1000, min_frequency=2, special_tokens=SPECIAL, show_progress=False)
    t.save_model(folder)


def hash_file(kind, path, where):
    t = make(kind, where)
    for text in open(path, encoding='utf-8', newline='\n'):
        h = Hash()
        h.add_encoding(encode(t, text.rstrip('\n'), None, 512))
        print(f'{h.value:016x}')


def main():
    what = sys.argv[1]
    if what == '--parts':
        write_parts()
    elif what == '--train':
        train(sys.argv[2], sys.argv[3:])
    elif what == '--line':
        print(repr(line(json.load(open(HERE + '/lines.json')), int(sys.argv[2]))))
    elif what == '--hash':
        hash_file(*sys.argv[2:])
    else:
        write_vectors(what, sys.argv[2])


main()
