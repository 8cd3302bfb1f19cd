command -v git >/dev/null 2>&1 || step git
d="${XDG_CACHE_HOME:-$HOME/.cache}/llorch/trees/$name"
mkdir -p "$d" 2>/dev/null || step folder
cd "$d" || step folder
if [ ! -e .git/llorch-tree ]; then
    # Only what this made is ever brought to another state.
    [ -z "$(ls -A)" ] || step marked
    if [ -n "$seed" ] && git -C "$seed" rev-parse --git-dir >/dev/null 2>&1; then
        git clone --quiet --local --no-checkout --no-tags -- "$seed" . >&2 || step clone
    else
        git init --quiet . >&2 || step init
    fi
    git config core.autocrlf false && git config core.fileMode true && git config gc.auto 0 || step init
    : > .git/llorch-tree || step init
fi
# One at a time; the lock of a process that is gone is nobody's.
until mkdir .git/llorch.lock 2>/dev/null; do
    read -r p 2>/dev/null < .git/llorch.lock/pid && kill -0 "$p" 2>/dev/null && step busy
    rm -rf .git/llorch.lock || step lock
done
echo $$ > .git/llorch.lock/pid || step space
trap 'rm -rf "$d/.git/llorch.lock"' EXIT
rm -f .git/index.lock .git/llorch-index.lock .git/shallow.lock
if git cat-file -e "$commit^{tree}" 2>/dev/null && git cat-file -e "$head^{tree}" 2>/dev/null; then
    echo have
else
    git for-each-ref --count=64 --sort=-committerdate --format='tip %(objectname)'
    echo need
    IFS=' ' read -r word count || step receive
    [ "$word" = pack ] || step receive
    if [ -n "$shallow" ]; then printf '%s\n' "$shallow" > .git/shallow || step space; fi
    if [ "$count" -lt 100 ]; then
        git unpack-objects -q >&2 || step receive
    else
        git index-pack --stdin --fix-thin >/dev/null || step receive
    fi
fi
git update-ref refs/llorch/snapshot "$commit" >&2 || step receive
if [ -n "$branch" ]; then
    git symbolic-ref HEAD "refs/heads/$branch" && git update-ref HEAD "$head"
else
    git update-ref --no-deref HEAD "$head"
fi >&2 || step head
own() { GIT_INDEX_FILE=.git/llorch-index git "$@"; }
own read-tree --reset -u "$tree" >&2 || step checkout
own clean -ffdq >&2 || step clean
[ "$(own write-tree)" = "$tree" ] && own diff-files --quiet --ignore-submodules || step verify
if [ "$(git write-tree 2>/dev/null)" != "$index_tree" ]; then
    cp .git/llorch-index .git/index && git read-tree -m "$index_tree" >&2 || step index
fi
git update-index -q --refresh >&2
printf 'tree %s\n' "$PWD"
