command -v git >/dev/null 2>&1 || step git
d="${XDG_CACHE_HOME:-$HOME/.cache}/llorch/trees/$name"
mkdir -p "${d%/*}" 2>/dev/null || step folder
# One at a time, also while it is made. A lock names its process; that of one that is gone is taken away by one alone.
n=0
until ln -s $$ "$d.lock" 2>/dev/null; do
    n=$((n+1))
    p=$(readlink "$d.lock") || { [ $n -lt 20 ] || step lock; continue; }
    if ! kill -0 "$p" 2>/dev/null && mkdir "$d.takeover" 2>/dev/null; then
        [ "$(readlink "$d.lock")" != "$p" ] || rm -f "$d.lock"
        rmdir "$d.takeover"
        continue
    fi
    # Left by one that was killed within that moment.
    [ $n -ne 100 ] || rmdir "$d.takeover" 2>/dev/null
    [ $n -lt 120 ] || step busy
    sleep 0.5 2>/dev/null || sleep 1
done
trap 'rm -f "$d.lock"' EXIT
if [ ! -e "$d/.git/llorch-tree" ]; then
    # Only what this made is ever brought to another state. It gets its name when it is whole.
    [ ! -e "$d" ] || rmdir "$d" 2>/dev/null || step marked
    rm -rf "$d.new"
    if [ -n "$seed" ] && git -C "$seed" rev-parse --git-dir >/dev/null 2>&1; then
        git clone --quiet --local --no-checkout --no-tags -- "$seed" "$d.new" >&2 || step clone
    else
        git init --quiet "$d.new" >&2 || step init
    fi
    cd "$d.new" || step folder
    git config core.autocrlf false && git config core.fileMode true || step init
    # Old snapshots are nobody's: they go when there are many packs.
    git config gc.autoPackLimit 50 && git config gc.pruneExpire now && git config gc.autoDetach false || step init
    : > .git/llorch-tree && mv "$d.new" "$d" || step init
fi
cd "$d" || step folder
rm -f .git/index.lock .git/llorch-index.lock .git/shallow.lock .git/HEAD.lock
if git cat-file -e "$commit^{tree}" 2>/dev/null && git cat-file -e "$head^{tree}" 2>/dev/null; then
    echo have
else
    # What a shallow copy has says nothing of what came before, unless this one is cut at the same places.
    if [ ! -s .git/shallow ] || [ "$(cat .git/shallow)" = "$shallow" ]; then
        git for-each-ref --count=64 --sort=-committerdate --format='tip %(objectname)'
    fi
    echo need
    # A pack is there whole or not at all.
    git index-pack --stdin --fix-thin >/dev/null || step receive
    if [ -n "$shallow" ]; then printf '%s\n' "$shallow" > .git/shallow || step space; else rm -f .git/shallow; fi
fi
git update-ref refs/llorch/snapshot "$commit" >&2 || step receive
if [ "$(git symbolic-ref -q HEAD)" != "${branch:+refs/heads/$branch}" ] || [ "$(git rev-parse -q --verify HEAD)" != "$head" ]; then
    # No branch but the one that is checked out: another's name may be in the way of its own.
    git update-ref --no-deref HEAD "$head" >&2 || step head
    git for-each-ref --format='delete %(refname)' refs/heads refs/remotes | git update-ref --no-deref --stdin >&2 || step head
    if [ -n "$branch" ]; then
        git update-ref "refs/heads/$branch" "$head" >&2 && git symbolic-ref HEAD "refs/heads/$branch" >&2 || step head
    fi
fi
own() { GIT_INDEX_FILE=.git/llorch-index git "$@"; }
own read-tree --reset -u "$tree" >&2 || step checkout
own clean -ffdq >&2 || step clean
[ "$(own write-tree)" = "$tree" ] && own diff-files --quiet --ignore-submodules || step verify
if [ "$(git write-tree 2>/dev/null)" != "$index_tree" ]; then
    cp .git/llorch-index .git/index && git read-tree -m "$index_tree" >&2 || step index
fi
git update-index -q --refresh >&2
git gc --auto --quiet >&2
printf 'tree %s\n' "$PWD"
