# bash completion for mpcformer(1): asks the programs themselves, so that it cannot be out of date.
_mpcformer() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} said
    if [ "$COMP_CWORD" = 1 ]; then
        said=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')
    elif [ "$COMP_CWORD" = 2 ] && [[ $command = @(bench|tape|peer|log) ]]; then
        said=$("${COMP_WORDS[0]}" "$command" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
    elif [[ $word = -* ]]; then
        [ "$command" != bench ] || command="bench ${COMP_WORDS[2]-}"
        # shellcheck disable=SC2086
        said=$("${COMP_WORDS[0]}" $command --help 2>/dev/null | grep -oE -- '--[a-z0-9-]+' | sort -u)
    fi
    mapfile -t COMPREPLY < <(compgen -W "$said" -- "$word")
}
complete -o default -F _mpcformer mpcformer
