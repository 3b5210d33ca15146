#!/bin/bash
# words.sh MPCFORMER MPCFORMERD SOURCE LIST_COMMANDS: what is made of the programs' own words: the
# completion of the shell, and the manual page of the control socket.
set -u
folder=$(mktemp -d) failures=0
trap 'rm -r "$folder"' EXIT
ln -s "$(realpath "$1")" "$folder/mpcformer"
ln -s "$(realpath "$2")" "$folder/mpcformerd"
source=$3
PATH=$folder:$PATH
# shellcheck source=scripts/completion.bash
. "$source/scripts/completion.bash"

# completes WORDS IS...: the last of the words that are typed becomes one of these
completes() {
    local typed=$1
    shift
    read -ra COMP_WORDS <<<"$typed"
    [[ $typed != *' ' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _mpcformer
    for word; do
        [[ " ${COMPREPLY[*]} " = *" $word "* ]] && continue
        echo "\"$typed\" is not completed to $word, but: ${COMPREPLY[*]}"
        failures=$((failures + 1))
    done
}

completes "mpcformer " lab infer audit reload
completes "mpcformer rep" report
completes "mpcformer model " load unload list
completes "mpcformer job s" split submit
completes "mpcformer keygen " authority request sign store show
completes "mpcformer tape " status fill discard
completes "mpcformer bench " bert load link
completes "mpcformer bench load --" --rate --config
completes "mpcformer lab --" --systemd --state
completes "mpcformer infer --" --config --compare
completes "mpcformerd --" --config --keys
# Texts and files are left to the shell.
completes "mpcformer infer "
[ ${#COMPREPLY[@]} = 0 ] || failures=$((failures + 1))

"$source/docs/man/control" "$4" "$source/docs/control.md" >"$folder/page"
sed -n 's/^| `\([a-z ]*\)` | .*/\1/p' "$source/docs/control.md" >"$folder/commands"
while read -r command; do
    grep -qF "\\fB$command\\fR" <(grep -A1 '^\.TP$' "$folder/page") ||
        { echo "the page lacks $command" && failures=$((failures + 1)); }
done <"$folder/commands"
! grep -nE '^\||^ *[-#] |\*\*' "$folder/page" || failures=$((failures + 1))

echo "$failures failures"
[ $failures = 0 ]
