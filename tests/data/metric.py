#!/usr/bin/env python3
"""Write metric.tsv: python3 metric.py > metric.tsv

The oracle of the metrics' test, not part of the build. Needs PyPI's `scikit-learn` and `scipy`. Values are drawn here.
"""
import random
import warnings

import scipy
import scipy.stats
import sklearn
from sklearn import metrics

random.seed(1)
warnings.simplefilter('ignore')


def row(name, given, right, value):
    print(name, ' '.join(map(str, given)), ' '.join(map(str, right)), f'{value:.15g}', sep='\t')


def wilson(hits, count):
    i = scipy.stats.binomtest(hits, count).proportion_ci(method='wilson')
    print('wilson', hits, count, f'{i.low:.15g} {i.high:.15g}', sep='\t')


def interval(name, of, given, right):
    i = scipy.stats.bootstrap((given, right), of, n_resamples=5000, vectorized=False, paired=True,
                              method='percentile', random_state=1).confidence_interval
    print('interval', name, ' '.join(map(str, given)), ' '.join(map(str, right)), f'{i.low:.4f} {i.high:.4f}', sep='\t')


def classes(labels, count, right_part):
    right = [random.choice(labels) for _ in range(count)]
    return [r if random.random() < right_part else random.choice(labels) for r in right], right


def correlated(name, of, given, right):
    value = of(given, right).statistic
    row(name, given, right, 0 if value != value else value)


print(f'# By metric.py, with scikit-learn {sklearn.__version__} and scipy {scipy.__version__}. Rows are:')
print('# the metric, given answers, right ones, its value (0 where scipy says NaN)')
print('# wilson, hits, count, the 95 % interval')
print('# interval, a metric, given answers, right ones, the 95 % interval by bootstrap')
for labels, count, part in (((0, 1), 1, 1), ((0, 1), 7, 0.5), ((0, 1), 60, 0.8), ((0, 0, 0, 1), 90, 0.6),
                            ((0, 1, 2), 40, 0.7), ((0,), 5, 1), ((1,), 5, 1)):
    given, right = classes(labels, count, part)
    row('accuracy', given, right, metrics.accuracy_score(right, given))
    if 2 not in labels:
        row('f1', given, right, metrics.f1_score(right, given, zero_division=0))
        row('matthews', given, right, metrics.matthews_corrcoef(right, given))
row('f1', [0, 1, 1, 0], [1, 0, 0, 1], 0)
row('matthews', [0, 1, 1, 0], [1, 0, 0, 1], metrics.matthews_corrcoef([1, 0, 0, 1], [0, 1, 1, 0]))
for count, noise in ((2, 1), (10, 0.5), (50, 1), (50, 5)):
    right = [round(random.uniform(0, 5) * 5) / 5 for _ in range(count)]  # many are equal
    given = [round(r + random.gauss(0, noise), 1) for r in right]
    correlated('pearson', scipy.stats.pearsonr, given, right)
    correlated('spearman', scipy.stats.spearmanr, given, right)
for given in ([1.5] * 4, [4, 3, 2, 1]):
    correlated('pearson', scipy.stats.pearsonr, given, [1, 2, 3, 4])
    correlated('spearman', scipy.stats.spearmanr, given, [1, 2, 3, 4])
# What a sum of squares less a squared sum would lose.
far = [1e9 + r for r in (1, 2, 3, 5, 4)]
correlated('pearson', scipy.stats.pearsonr, far, [1, 2, 3, 4, 5])
for hits, count in ((0, 1), (1, 1), (0, 50), (50, 50), (7, 9), (1459, 1821), (1820, 1821)):
    wilson(hits, count)
given, right = classes((0, 0, 1), 120, 0.7)
interval('f1', lambda g, r: metrics.f1_score(r, g), given, right)
interval('matthews', lambda g, r: metrics.matthews_corrcoef(r, g), given, right)
right = [round(random.uniform(0, 5) * 5) / 5 for _ in range(120)]
given = [round(r + random.gauss(0, 1), 1) for r in right]
interval('pearson', lambda g, r: scipy.stats.pearsonr(g, r).statistic, given, right)
interval('spearman', lambda g, r: scipy.stats.spearmanr(g, r).statistic, given, right)
