#!/usr/bin/env python3
"""Write tiny.safetensors and reference.tsv: python3 reference.py MODEL_DIR

The oracle of the float reference's test, not part of the build: BERT for sequence classification in numpy's float64,
written from the published definitions and not from the C code. MODEL_DIR is models/sst2-tiny; the sentences are this
project's own, tokenized with PyPI's `tokenizers`.

The tiny model has random weights; its sizes divide by nothing convenient, so that every remainder of a kernel runs.
"""
import json
import math
import struct
import sys

import numpy as np

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

H, LAYERS, HEADS, INNER, VOCAB, POSITIONS, TYPES, LABELS = 21, 2, 3, 37, 19, 11, 2, 3
HIDDEN_ACTS, SOFTMAX_ACTS = ('gelu', 'gelu_new', 'relu', 'quad', 'tanh'), ('softmax', '2relu', '2quad')
TEXTS = [
    'A warm, funny film that earns every tear.', 'Two hours of my life that I will never get back.', 'Not bad, not good: it is simply there.',
    'The actors try hard, but the script gives them nothing.', 'Breathtaking!', '', 'I would watch it again tomorrow - and the day after.',
    'slow ' * 70 + 'and finally good',
]

erf = np.vectorize(math.erf)
ACT = {
    'gelu': lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    'gelu_new': lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    'relu': lambda x: np.maximum(x, 0),
    'quad': lambda x: 0.125 * x * x + 0.25 * x + 0.5,
    'tanh': np.tanh,
}


def shapes():
    s = {'bert.embeddings.word_embeddings.weight': (VOCAB, H), 'bert.embeddings.position_embeddings.weight': (POSITIONS, H), 'bert.embeddings.token_type_embeddings.weight': (TYPES, H)}

    def linear(name, out, inner):
        s[name + '.weight'], s[name + '.bias'] = (out, inner), (out,)

    def norm(name):
        s[name + '.LayerNorm.weight'], s[name + '.LayerNorm.bias'] = (H,), (H,)

    norm('bert.embeddings')
    for i in range(LAYERS):
        p = f'bert.encoder.layer.{i}.'
        for part in ('query', 'key', 'value'):
            linear(p + 'attention.self.' + part, H, H)
        linear(p + 'attention.output.dense', H, H)
        norm(p + 'attention.output')
        linear(p + 'intermediate.dense', INNER, H)
        linear(p + 'output.dense', H, INNER)
        norm(p + 'output')
    linear('bert.pooler.dense', H, H)
    linear('classifier', LABELS, H)
    return s


def write_tiny(path):
    rng, head, data = np.random.default_rng(7), {}, b''
    for name, shape in shapes().items():
        v = rng.normal(0, 0.3, shape)
        if name.endswith('LayerNorm.weight'):
            v += 1
        raw = v.astype('<f4').tobytes()
        head[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(text)) + text + data)


def load(path):
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    head.pop('__metadata__', None)
    return {k: np.frombuffer(raw[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]], '<f4').reshape(v['shape']).astype(np.float64) for k, v in head.items()}


def probabilities(s, kind):
    if kind == 'softmax':
        e = np.exp(s - s.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True), None
    if kind == '2quad':
        e = (s + 5) ** 2
    else:
        e = np.maximum(s, 0) + 1e-12 / s.shape[-1]
    total = e.sum(-1, keepdims=True)
    return e / total, total


def by_layer(names, i):
    return names if isinstance(names, str) else names[i]


def run(w, c, ids, types, see=lambda *a: None):
    """Logits; see(point, layer, array) is called where the C observer's points are."""
    def linear(name, x):
        return x @ w[name + '.weight'].T + w[name + '.bias']

    def norm(name, x, point, layer):
        d = x - x.mean(-1, keepdims=True)
        var = (d * d).mean(-1, keepdims=True)
        see(point + '_variance', layer, var)
        see(point + '_centred', layer, d)
        return d / np.sqrt(var + c['layer_norm_eps']) * w[name + '.LayerNorm.weight'] + w[name + '.LayerNorm.bias']

    heads, n, e = c['num_attention_heads'], len(ids), 'bert.embeddings'
    x = w[e + '.word_embeddings.weight'][ids] + w[e + '.token_type_embeddings.weight'][types] + w[e + '.position_embeddings.weight'][:n]
    x = norm(e, x, 'embedding', 0)
    for i in range(c['num_hidden_layers']):
        p = f'bert.encoder.layer.{i}.'
        parts = []
        for part in ('query', 'key', 'value'):
            v = linear(p + 'attention.self.' + part, x)
            see(part, i, v)
            parts.append(v.reshape(n, heads, -1).transpose(1, 0, 2))
        q, k, v = parts
        s = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        see('score', i, s)
        prob, total = probabilities(s, by_layer(c['softmax_act'], i))
        if total is not None:
            see('row_sum', i, total)
        ctx = (prob @ v).transpose(1, 0, 2).reshape(n, -1)
        see('context', i, ctx)
        x = norm(p + 'attention.output', x + linear(p + 'attention.output.dense', ctx), 'attention', i)
        u = linear(p + 'intermediate.dense', x)
        see('ffn_input', i, u)
        u = ACT[by_layer(c['hidden_act'], i)](u)
        see('ffn_output', i, u)
        x = norm(p + 'output', x + linear(p + 'output.dense', u), 'output', i)
    t = linear('bert.pooler.dense', x[0])
    see('pooler', 0, t)
    logits = linear('classifier', np.tanh(t))
    see('logits', 0, logits)
    return logits


def encode(path, text):
    t = Tokenizer(models.WordPiece.from_file(path + '/vocab.txt', unk_token='[UNK]', max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return [t.token_to_id('[CLS]')] + t.encode(text).ids + [t.token_to_id('[SEP]')]


def numbers(v):
    return ' '.join(f'{x:.9g}' for x in v)


def main():
    write_tiny('tiny.safetensors')
    w = load('tiny.safetensors')
    out = open('reference.tsv', 'w')
    print('# Logits and ranges by reference.py, in float64 with numpy ' + np.__version__ + '. Rows are:', file=out)
    print('# tiny: hidden_act, softmax_act, ids, types, logits of tiny.safetensors', file=out)
    print('# layers: the same with functions by layer', file=out)
    print('# range: hidden_act, softmax_act, ids, types, point, layer, least, largest', file=out)
    print('# shipped: a text of our own, logits of models/sst2-tiny', file=out)
    cases = [([2, 5, 18, 0, 9, 9, 3], [0] * 4 + [1] * 3), ([2], [0]), (list(range(11)), [0] * 11)]
    for hidden in HIDDEN_ACTS:
        for soft in SOFTMAX_ACTS:
            c = dict(num_attention_heads=HEADS, num_hidden_layers=LAYERS, layer_norm_eps=1e-12, hidden_act=hidden, softmax_act=soft)
            for ids, types in cases:
                print('tiny', hidden, soft, *(' '.join(map(str, v)) for v in (ids, types)), numbers(run(w, c, ids, types)), sep='\t', file=out)
    c.update(hidden_act=['gelu', 'quad'], softmax_act=['2relu', 'softmax'])
    for ids, types in cases:
        print('layers', 'gelu,quad', '2relu,softmax', *(' '.join(map(str, v)) for v in (ids, types)), numbers(run(w, c, ids, types)), sep='\t', file=out)
    for soft in ('2quad', '2relu', 'softmax'):
        c.update(hidden_act='quad', softmax_act=soft)
        ids, types = cases[0]
        run(w, c, ids, types, lambda point, layer, v: print('range', 'quad', soft, ' '.join(map(str, ids)), ' '.join(map(str, types)), point, layer, numbers((v.min(), v.max())).replace(' ', '\t'), sep='\t', file=out))
    c = json.load(open(sys.argv[1] + '/config.json'))
    w = load(sys.argv[1] + '/model.safetensors')
    for text in TEXTS:
        ids = encode(sys.argv[1], text)
        print('shipped', text, numbers(run(w, c, ids, [0] * len(ids))), sep='\t', file=out)


main()
