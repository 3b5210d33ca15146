#!/bin/sh
# e2e_lab.sh MPCFORMER MODEL RING FRAC: the whole way with real processes. A lab is started, texts
# and a small task are run through it, and what a user must be able to rely on is looked at: labels
# equal to the float model's, the keys of the JSON lines, exit codes, nothing left behind.
set -eu
mpcformer=$1 model=$2 ring=$3 frac=$4

if [ "${5-}" != inside ]; then
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    mkdir "$dir/tmp"
    code=0
    TMPDIR=$dir/tmp "$mpcformer" lab --model "$model" --ring "$ring" --frac "$frac" --tokens 16,32 \
        --batch 2,4 -- sh "$0" "$mpcformer" "$model" "$ring" "$frac" inside "$dir" || code=$?
    [ $code = 7 ] || { echo "the lab ended with $code, not with its command's 7"; exit 1; }
    [ -z "$(ls "$dir/tmp")" ] || { echo "left behind:"; ls "$dir/tmp"; exit 1; }
    pids=$(cat "$dir/pids")
    for pid in $pids; do
        [ ! -e "/proc/$pid" ] || { echo "process $pid is still there"; exit 1; }
    done
    exit 0
fi

dir=$6
fail() { echo "FAILED: $*"; exit 1; }
# has FILE TEXT...: each text stands in the file
has() {
    file=$1
    shift
    for text; do
        grep -qF -- "$text" "$file" || { cat "$file"; fail "$file does not hold $text"; }
    done
}
labels() { sed -n 's/.*"label":"\([^"]*\)".*"float_label":"\([^"]*\)".*/\1 \2/p' "$1"; }
exits() {
    want=$1 code=0
    shift
    "$@" >"$dir/out" 2>"$dir/err" || code=$?
    [ $code = "$want" ] || { cat "$dir/out" "$dir/err"; fail "$* ended with $code, not $want"; }
}

# The appliances are other processes, children of the lab that runs this.
grep -l mpcformerd /proc/[0-9]*/comm 2>/dev/null | while read -r comm; do
    pid=${comm#/proc/} pid=${pid%/comm}
    grep -qF "$MPCFORMER_LAB/" "/proc/$pid/cmdline" && echo "$pid"
done >"$dir/pids" || true
[ "$(wc -l <"$dir/pids")" = 3 ] || fail "there are not three appliances"

# Two length buckets, on one command line; as JSON, from standard input; a pair.
exits 0 mpcformer infer --compare "a warm and quietly funny story that earns every one of its tears" \
    "two hours of noise, and not one line worth remembering; the jokes fall flat, and the ending makes no sense at all"
has "$dir/out" positive negative
printf 'a lovely film\na dull film\n' >"$dir/lines"
exits 0 sh -c "mpcformer infer --json --compare <'$dir/lines'"
[ "$(wc -l <"$dir/out")" = 2 ] || fail "not a line a text"
has "$dir/out" '"label":' '"probabilities":' '"logits":' '"online_ms":' '"offline_ms":' \
    '"bytes_online":' '"rounds_online":' '"bytes_upload":' '"float_label":' '"float_probabilities":'
exits 0 mpcformer infer --pair "a film" "another film"

# Several texts in one job, the last job with what is left: the answers are those of one at a time,
# in their order.
printf 'a lovely film\na dull film\na joy from start to end\na bore\nfine\na mess\n' >"$dir/lines"
exits 0 sh -c "mpcformer infer --json --compare <'$dir/lines'"
labels "$dir/out" >"$dir/alone"
exits 0 sh -c "mpcformer infer --json --compare --batch 4 <'$dir/lines'"
labels "$dir/out" | cmp - "$dir/alone" || fail "a batch has other answers"
[ "$(grep -c '"batch":4' "$dir/out")" = 4 ] || fail "the first job has not four texts"
[ "$(grep -c '"batch":2' "$dir/out")" = 2 ] || fail "the last job has not two texts"
exits 0 mpcformer infer --compare --batch 4 "a lovely film" "a dull film" "another film"
[ "$(wc -l <"$dir/out")" = 4 ] || fail "not a head and a row a text"
exits 2 mpcformer infer --batch 5 "a lovely film"
has "$dir/err" 'no variant for as many texts'
exits 2 mpcformer infer --batch 0 "a lovely film"

# Nobody learns a length unless its owner and the model's say so.
has "$dir/alone" positive negative
exits 0 mpcformer infer --json "a lovely film"
has "$dir/out" '"length":"bucket"'
exits 2 mpcformer infer --length public "a lovely film"
has "$dir/err" 'mpcformer share --length public'

# A task, with lines that are none.
printf 'sentence\tlabel\na joy from start to end\t1\nno label here\na bore\t0\na bore\t9\n' >"$dir/task.tsv"
exits 0 mpcformer eval --data "$dir/task.tsv" --json
has "$dir/out" '"n":2' '"metric":"accuracy"' '"private":' '"float":' '"agree":1.0' \
    '"logit_error_max":' '"logit_error_median":' '"bad_lines":2'
has "$dir/err" 'task.tsv:3: the line has too few columns' 'task.tsv:5: the line has a label that the task does not have'
exits 0 mpcformer eval --data "$dir/task.tsv" --limit 1 --json
has "$dir/out" '"n":1'

# The operator's side.
exits 0 mpcformer status --json
has "$dir/out" '"role":"party0"' "\"ring\":$ring" "\"frac\":$frac" '"state":"ready"' '"seal":"' \
    '"memory":{"pages_1g":'

# What is wrong is said, with a code that says whose fault it is.
exits 2 mpcformer infer --nonsense
exits 2 mpcformer infer --config "$dir/absent.conf" text
exits 3 sh -c "printf 'no pair\n' | mpcformer infer --pair"
has "$dir/err" 'standard input, line 1: it is no pair'
exits 3 sh -c "printf 'bad \377 text\n' | mpcformer infer"
exits 3 mpcformer eval --data "$dir/absent.tsv"
exits 2 mpcformer eval --data "$dir/task.tsv" --task Chess

# A party that is gone is reported at once, by name.
kill -9 "$(sed -n 's/^\([0-9]*\)$/\1/p' "$dir/pids" | while read -r pid; do
    grep -qF party1.conf "/proc/$pid/cmdline" && echo "$pid"
done)"
exits 3 timeout 20 mpcformer infer "is anybody there"
has "$dir/err" party1
exit 7
