# bash completion for mpcformer(1) and mpcformerd(8): asks the programs themselves, so that it cannot
# be out of date.

# What stands where a command's arguments begin, in its usage or in a list below.
_mpcformer_words() {
    "$@" --help 2>/dev/null | awk '
        /^  [a-z]+  / { print $1 }
        /^[^U ]/ { over = 1 }
        !over { usage = usage " " $0 }
        END {
            for (count = split(usage, forms, /\[OPTION\.\.\.\]/); count > 1; count--) {
                split(forms[count], word, " ")
                if (word[1] ~ /^[a-z|]+$/) { gsub(/\|/, "\n", word[1]); print word[1] }
            }
        }'
}

_mpcformer_options() { "$@" --help 2>/dev/null | grep -oE -- '--[a-z0-9-]+' | sort -u; }

_mpcformer() {
    local word=${COMP_WORDS[COMP_CWORD]} said=
    local -a command=("${COMP_WORDS[@]:0:2}")
    case ${COMP_WORDS[0]##*/}:$COMP_CWORD:$word in
    mpcformerd:*:-*) said=$(_mpcformer_options "${COMP_WORDS[0]}") ;;
    mpcformerd:*) ;;
    *:1:*) said=$(_mpcformer_words "${COMP_WORDS[0]}") ;;
    *:*:-*)
        [ "${COMP_WORDS[1]}" != bench ] || command+=("${COMP_WORDS[2]-}")
        said=$(_mpcformer_options "${command[@]}")
        ;;
    *:2:*) said=$(_mpcformer_words "${command[@]}") ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$said" -- "$word")
}
complete -o default -F _mpcformer mpcformer mpcformerd
