#!/usr/bin/env python3
"""Write the folders roberta, distilbert and regression, and kinds.tsv: python3 kinds.py WORDPIECE_VOCAB

Small models of every kind, with random weights in F16, and what PyPI's `transformers` (made with 4.40.2, on PyTorch
1.13) makes of them in float64: the oracle of test_kinds, not part of the build. WORDPIECE_VOCAB is
models/sst2-tiny/vocab.txt, whose first lines the two with WordPiece get; roberta's vocabulary is lines.py's.
"""
import json
import os
import sys

import safetensors.torch
import torch
import transformers
from transformers import (BertConfig, BertForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification, RobertaConfig,
                          RobertaForSequenceClassification)

WORDS, SHARD_BYTES = 600, 24 << 10
PAIRS = [('a film that I will not forget', None), ('the plan of a party', 'is the same'), ('', None), ("it's 3 o'clock, isn't it?", 'caf\u00e9 \U0001f600'), ('slow ' * 40, None), ('x', 'y ' * 50)]


def randomise(model):
    """Larger than they are made, so that every part matters."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0, 0.25, generator=g)
            if 'norm' in name.lower() and name.endswith('weight'):
                p.add_(1)
    return model.half()


def save(model, folder, shards):
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    if not shards:
        safetensors.torch.save_file(tensors, folder + '/model.safetensors')
        return
    files, room = [{}], SHARD_BYTES
    for name, v in tensors.items():
        if v.numel() * 2 > room and files[-1]:
            files.append({})
            room = SHARD_BYTES
        files[-1][name] = v
        room -= v.numel() * 2
    where = {}
    for i, part in enumerate(files):
        file = f'model-{i + 1:05}-of-{len(files):05}.safetensors'
        safetensors.torch.save_file(part, f'{folder}/{file}')
        where.update({name: file for name in part})
    index = {'metadata': {'total_size': sum(v.numel() * 2 for v in tensors.values())}, 'weight_map': where}
    json.dump(index, open(folder + '/model.safetensors.index.json', 'w'), separators=(',', ':'), sort_keys=True)


def write_config(model, folder):
    c = {k: v for k, v in model.config.to_diff_dict().items() if k not in ('transformers_version', 'torch_dtype')}
    c['architectures'] = [type(model).__name__]
    c.setdefault('vocab_size', model.config.vocab_size)
    c.setdefault('max_position_embeddings', model.config.max_position_embeddings)
    json.dump(c, open(folder + '/config.json', 'w'), indent=1, sort_keys=True)


def tokenizer(folder, kind):
    if kind == 'roberta':
        return transformers.RobertaTokenizer(folder + '/vocab.json', folder + '/merges.txt')
    return transformers.BertTokenizer(folder + '/vocab.txt')


def main():
    vocab = open(sys.argv[1], encoding='utf-8').read().split('\n')[:WORDS]
    common = dict(num_attention_heads=3, hidden_size=24, num_hidden_layers=2, intermediate_size=40)
    models = {
        'roberta': (RobertaForSequenceClassification, RobertaConfig(vocab_size=1000, max_position_embeddings=34, type_vocab_size=1, layer_norm_eps=1e-5, num_labels=3, hidden_act='gelu', **common)),
        'distilbert': (DistilBertForSequenceClassification, DistilBertConfig(vocab_size=WORDS, max_position_embeddings=32, dim=24, hidden_dim=40, n_layers=2, n_heads=3, activation='gelu', num_labels=2)),
        'regression': (BertForSequenceClassification, BertConfig(vocab_size=WORDS, max_position_embeddings=32, num_labels=1, problem_type='regression', **common)),
    }
    out = open('kinds.tsv', 'w')
    print(f'# Logits by kinds.py, in float64 with transformers {transformers.__version__}: folder, text and pair (JSON), ids, logits.', file=out)
    for folder, (make, config) in models.items():
        os.makedirs(folder, exist_ok=True)
        if folder != 'roberta':
            open(folder + '/vocab.txt', 'w', encoding='utf-8').write('\n'.join(vocab) + '\n')
        model = randomise(make(config)).eval()
        save(model, folder, folder == 'regression')
        write_config(model, folder)
        model, t = model.double(), tokenizer(folder, folder)
        for text, pair in PAIRS:
            e = t(text, pair, truncation=True, max_length=32, return_tensors='pt', return_token_type_ids=folder == 'regression')
            with torch.no_grad():
                logits = model(**e).logits[0].numpy()
            print(folder, json.dumps(text), json.dumps(pair), ' '.join(map(str, e['input_ids'][0].tolist())), ' '.join(f'{v:.9g}' for v in logits), sep='\t', file=out)


main()
