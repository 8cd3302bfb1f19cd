# Who writes to a line that is dead must not die of it.
trap '' PIPE
g=
members() {
    if [ -r /proc/self/stat ]; then
        for f in /proc/[0-9]*/stat; do
            { IFS= read -r l < "$f"; } 2>/dev/null || continue
            set -- ${l##*) }
            [ "$4" = "$g" ] && [ "$1" != Z ] && f=${f#/proc/} && echo "${f%/stat}"
        done
    else
        ps -A -o pid= -o ppid= -o pgid= | awk -v g="$g" '
            { parent[$1] = $2; if ($3 == g || $1 == g) own[$1] = 1 }
            END {
                do { more = 0; for (p in parent) if (!own[p] && own[parent[p]]) { own[p] = 1; more = 1 } } while (more)
                for (p in own) print p
            }'
    fi
}
nap() { sleep 0.2 2>/dev/null || sleep 1; }
finish() {
    [ -n "$g" ] || return 0
    for s in TERM NONE NONE NONE KILL; do
        m=$(members)
        [ -n "$m" ] || return 0
        [ $s = NONE ] || kill -$s $m 2>/dev/null
        nap
    done
    m=$(members)
    [ -z "$m" ] || kill -KILL $m 2>/dev/null
}
watch() {
    n=0
    trap 'n=0' USR1
    echo "$mark held"
    exec 3>&1 >/dev/null 2>&1 </dev/null
    while [ $n -lt 7 ]; do sleep 0.5 3>&- || { sleep 1 3>&-; n=$((n+1)); }; n=$((n+1)); done
    # Where only one direction is cut, the other side learns why its task ends.
    echo "$mark lost" >&3
    exec 3>&-
    finish
    kill $$
}
w=
while read -r word pid; do
    case $word in
        hold) g=$pid; watch & w=$! ;;
        beat) [ -z "$w" ] || kill -USR1 $w 2>/dev/null; echo "$mark beat" ;;
        INT|TERM|HUP) [ -z "$g" ] || kill -$word -$g 2>/dev/null ;;
        KILL) finish ;;
        done) [ -z "$w" ] || kill $w 2>/dev/null; w=; g=; echo "$mark released" ;;
    esac
done
[ -z "$w" ] || kill $w 2>/dev/null
finish
