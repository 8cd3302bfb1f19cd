//! The working tree over there is the working tree here, whatever it holds; nothing else over there changes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Machines, Outcome, is_possible};

/// What two sides are compared by.
const STATE: &str = "git rev-parse HEAD; git status --porcelain=v1 -z; git diff --no-ext-diff; git diff --cached; git ls-files -s; \
    git symbolic-ref -q HEAD; find . -path ./.git -prune -o -path ./target -prune -o -type f -exec sha256sum {} + -o -type l -exec readlink {} + | sort; \
    find . -path ./.git -prune -o -path ./target -prune -o -type f -perm -100 -print | sort";

/// A checkout on the near side that has something of everything.
struct Checkout {
    machines: Machines,
    root: PathBuf,
}

impl Checkout {
    fn new() -> Self {
        let machines = Machines::new().with_checkout(&format!("mkdir -p target; {STATE}"));
        let root = machines.near("it's a checkout");
        let checkout = Self { machines, root };
        for (name, text) in [
            ("Cargo.toml", "x"),
            ("catalog.toml", "x"),
            ("xtask/Cargo.toml", "x"),
            ("src/a.rs", "one\n"),
            ("src/b.rs", "two\n"),
            ("src/c.rs", "a third\n"),
            ("src/gone.rs", "three\n"),
            ("run.sh", "#!/bin/sh\n"),
            (".gitignore", "target/\n*.log\n"),
            ("odd \"name\"\n'é.txt", "four\n"),
        ] {
            checkout.write(name, text);
        }
        checkout.git("init -q -b main");
        checkout.git("add -A");
        checkout.git("commit -q -m first");
        checkout
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.root.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }

    fn git(&self, words: &str) {
        git(&self.root, words);
    }

    fn sync(&self, arguments: &[&str]) -> Outcome {
        let arguments: Vec<&str> = ["--remote", "box", "--sync"].into_iter().chain(arguments.iter().copied()).collect();
        self.machines.run_in(&self.root, &arguments)
    }

    /// Both sides show the same.
    fn check(&self) {
        let outcome = self.sync(&["tidy"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let here = duct::cmd("sh", ["-c", STATE]).dir(&self.root).stdout_capture().unchecked().run().expect("a shell");
        assert_eq!(outcome.text(), String::from_utf8_lossy(&here.stdout));
    }

    /// The copy over there.
    fn copy(&self) -> PathBuf {
        let outcome = self.machines.run_in(&self.root, &["remote", "sync", "box"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        PathBuf::from(outcome.text().trim_end())
    }
}

fn git(folder: &Path, words: &str) {
    let arguments = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "protocol.file.allow=always"]
        .into_iter()
        .chain(words.split(' '));
    duct::cmd("git", arguments).dir(folder).run().unwrap_or_else(|error| panic!("git {words}: {error}"));
}

#[test]
fn every_kind_of_change_arrives_and_so_does_its_undoing() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.check();
    // In the index, in the folder, in both, in neither.
    checkout.write("src/a.rs", "staged\n");
    checkout.git("add src/a.rs");
    checkout.write("src/a.rs", "staged and changed again\n");
    checkout.write("src/b.rs", "changed\n");
    checkout.write("src/new.rs", "untracked\n");
    checkout.write("added.rs", "added\n");
    checkout.git("add added.rs");
    checkout.write("noise.log", "ignored\n");
    std::fs::remove_file(checkout.root.join("src/gone.rs")).expect("a file");
    std::fs::set_permissions(checkout.root.join("run.sh"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::symlink("a.rs", checkout.root.join("src/link.rs")).expect("a link");
    checkout.git("mv src/c.rs src/moved.rs");
    let _ignored_here_only = std::fs::remove_file(checkout.root.join("noise.log"));
    checkout.check();
    checkout.git("stash -q -u");
    checkout.check();
    checkout.git("stash pop -q");
    checkout.git("add -A");
    checkout.git("commit -q -m second");
    checkout.check();
    checkout.git("checkout -q -b other HEAD^");
    checkout.check();
    checkout.git("checkout -q --detach");
    checkout.check();
}

#[test]
fn what_was_built_stays_and_what_is_strange_goes() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.check();
    let copy = checkout.copy();
    std::fs::write(copy.join("target/warm"), "built").expect("a file");
    let before = std::fs::metadata(copy.join("src/b.rs")).and_then(|data| data.modified()).expect("a time");
    // Somebody over there worked in it.
    std::fs::write(copy.join("src/a.rs"), "theirs").expect("a file");
    std::fs::write(copy.join("strange.rs"), "theirs").expect("a file");
    std::fs::remove_file(copy.join("run.sh")).expect("a file");
    std::fs::write(copy.join(".git/index.lock"), "").expect("left by a killed git");
    checkout.write("src/new.rs", "untracked\n");
    checkout.check();
    checkout.check();
    assert_eq!(std::fs::read_to_string(copy.join("target/warm")).expect("a file"), "built");
    let after = std::fs::metadata(copy.join("src/b.rs")).and_then(|data| data.modified()).expect("a time");
    assert_eq!(before, after, "a file that did not change was written again");
}

#[test]
fn the_far_checkout_is_not_touched() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    // Theirs, with the same history: what it has is not sent.
    let theirs = checkout.machines.far("src/theirs");
    git(&checkout.root, &format!("clone -q --bare . {}", checkout.machines.path("bare").display()));
    git(
        checkout.machines.path("far").as_path(),
        &format!("clone -q {} src/theirs", checkout.machines.path("bare").display()),
    );
    std::fs::write(theirs.join("src/a.rs"), "their work").expect("a file");
    let bin = checkout.machines.path("bin");
    checkout.machines.configure(&format!("[hosts.box]\nrepo = 'src/theirs'\npath = ['{}']\n", bin.display()));
    checkout.write("src/b.rs", "changed\n");
    let outcome = checkout.machines.run_in(&checkout.root, &["remote", "sync", "box", "--json"]);
    let event: serde_json::Value = serde_json::from_str(outcome.text().lines().next().expect("a line")).expect("JSON");
    assert!(event["sent_bytes"].as_u64().expect("a number") < 2_000, "{event}");
    checkout.check();
    assert_eq!(std::fs::read_to_string(theirs.join("src/a.rs")).expect("a file"), "their work");
    let refs = duct::cmd("git", ["for-each-ref"]).dir(&theirs).read().expect("refs");
    assert!(!refs.contains("llorch"), "{refs}");
}

#[test]
fn a_branch_whose_name_was_a_folder_of_another() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    for words in ["checkout -q -b topic", "checkout -q main", "branch -q -D topic", "checkout -q -b topic/deeper"] {
        checkout.git(words);
        checkout.check();
    }
}

#[test]
fn a_shallow_checkout_over_there_lacks_what_it_lacks() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.write("src/b.rs", "second\n");
    checkout.git("commit -q -a -m second");
    let bare = checkout.machines.path("bare");
    git(&checkout.root, &format!("clone -q --bare . {}", bare.display()));
    let far = checkout.machines.path("far");
    git(&far, &format!("clone -q --depth 1 file://{} src/shallow", bare.display()));
    let bin = checkout.machines.path("bin");
    checkout.machines.configure(&format!("[hosts.box]\nrepo = 'src/shallow'\npath = ['{}']\n", bin.display()));
    checkout.git("checkout -q HEAD^");
    checkout.check();
}

#[test]
fn what_git_was_told_to_overlook_is_sent_and_what_cannot_be_is_named() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.git("update-index --assume-unchanged src/a.rs");
    checkout.git("update-index --skip-worktree src/b.rs");
    checkout.write("src/a.rs", "edited\n");
    checkout.write("src/b.rs", "edited\n");
    let copy = checkout.copy();
    for name in ["src/a.rs", "src/b.rs"] {
        assert_eq!(std::fs::read_to_string(copy.join(name)).expect("a file"), "edited\n", "{name}");
    }
    checkout.write("inner/file", "x");
    let inner = checkout.root.join("inner");
    for words in ["init -q", "add -A", "commit -q -m inner"] {
        git(&inner, words);
    }
    let outcome = checkout.machines.run_in(&checkout.root, &["remote", "sync", "box"]);
    assert!(outcome.stderr.contains("`inner` is a repository of its own"), "{outcome:?}");
}

#[test]
fn two_names_of_one_machine_wait_for_each_other() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    // The first time above all: while one makes the copy, the others must not take it for somebody else's.
    for _round in 0..4 {
        let outcome = checkout.machines.run_in(&checkout.root, &["remote", "sync", "box", "box2", "box3"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        std::fs::remove_dir_all(checkout.copy()).expect("a folder");
    }
}

#[test]
fn a_copy_whose_making_was_killed_is_made_anew() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let copy = checkout.copy();
    let half = copy.with_added_extension("new");
    std::fs::rename(&copy, &half).expect("a folder");
    std::fs::remove_file(half.join(".git/llorch-tree")).expect("the mark");
    checkout.check();
    assert!(!half.exists());
}

#[test]
fn submodule_pins_arrive_without_their_files() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let pin = "1".repeat(40);
    checkout
        .write(".gitmodules", "[submodule \"reference/x\"]\n\tpath = reference/x\n\turl = https://example.invalid/x\n");
    checkout.git(&format!("update-index --add --cacheinfo 160000,{pin},reference/x"));
    checkout.git("add .gitmodules");
    checkout.git("commit -q -m pinned");
    let _a_folder_without_files = std::fs::create_dir_all(checkout.root.join("reference/x"));
    checkout.check();
    let copy = checkout.copy();
    let listed = duct::cmd("git", ["ls-files", "-s", "reference/x"]).dir(copy).read().expect("a list");
    assert!(listed.contains(&pin), "{listed}");
}

#[test]
fn a_shallow_clone_is_sent_as_it_is() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.write("src/b.rs", "second\n");
    checkout.git("commit -q -a -m second");
    let shallow = checkout.machines.near("shallow");
    git(
        checkout.machines.path("near").as_path(),
        &format!(
            "clone -q --depth 1 file://{} {}",
            checkout.root.display().to_string().replace(' ', "%20"),
            shallow.display()
        ),
    );
    let outcome = checkout.machines.run_in(&shallow, &["remote", "sync", "box"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let count =
        duct::cmd("git", ["rev-list", "--count", "HEAD"]).dir(outcome.text().trim_end()).read().expect("a number");
    assert_eq!(count, "1");
}

#[test]
fn a_step_that_fails_is_named_and_nothing_follows() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let machines = &checkout.machines;
    let ran = machines.far("ran");
    let name = checkout.copy().file_name().expect("a name").to_string_lossy().into_owned();
    machines.program("cargo", &format!("touch '{}'", ran.display()));
    let check = |variables: &str, step: &str| {
        let bin = machines.path("bin").display().to_string();
        machines.configure(&format!("[hosts.box]\npath = ['{bin}']\n[hosts.box.env]\n{variables}\n"));
        let outcome = checkout.sync(&["tidy"]);
        assert_eq!(outcome.code, 1, "{step}: {outcome:?}");
        assert!(outcome.stderr.contains(&format!("step `{step}`")), "{step}: {outcome:?}");
        assert!(!ran.exists(), "{step}: the task ran all the same");
    };
    // A folder that cannot be made, one that is somebody's, and git failing at each of its jobs in turn.
    std::fs::write(machines.far("file"), "").expect("a file");
    check(&format!("XDG_CACHE_HOME = '{}'", machines.far("file").display()), "folder");
    let marked = machines.far("marked/llorch/trees").join(name);
    std::fs::create_dir_all(&marked).expect("a folder");
    std::fs::write(marked.join("precious"), "theirs").expect("a file");
    check(&format!("XDG_CACHE_HOME = '{}'", machines.far("marked").display()), "marked");
    assert_eq!(std::fs::read_to_string(marked.join("precious")).expect("a file"), "theirs");
    for (index, (job, step)) in [
        ("init", "init"),
        ("index-pack", "receive"),
        ("update-ref", "receive"),
        ("symbolic-ref", "head"),
        ("read-tree", "checkout"),
        ("clean", "clean"),
        ("diff-files", "verify"),
    ]
    .into_iter()
    .enumerate()
    {
        machines.program("git", &format!("for word; do case $word in {job}) echo no {job} >&2; exit 9;; esac; done\nexec /usr/bin/env PATH=\"${{PATH#*:}}\" git \"$@\""));
        check(&format!("XDG_CACHE_HOME = '{}'", machines.far(&format!("cache{index}")).display()), step);
    }
    std::fs::remove_file(machines.path("bin/git")).expect("a script");
    // Where receiving failed, nothing half done is in the way of the next try.
    machines.program("cargo", &format!("mkdir -p target; {STATE}"));
    let bin = machines.path("bin").display().to_string();
    let cache = machines.far("cache1").display().to_string();
    machines.configure(&format!("[hosts.box]\npath = ['{bin}']\n[hosts.box.env]\nXDG_CACHE_HOME = '{cache}'\n"));
    checkout.check();
}

#[test]
fn a_full_disk_over_there_is_a_step_that_fails_and_can_be_gone_over() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let disk = checkout.machines.far(".cache");
    std::fs::create_dir_all(&disk).expect("a folder");
    let mount = |arguments: &[&str]| duct::cmd("mount", arguments.iter().map(ToString::to_string)).stderr_null().run();
    if let Err(error) = mount(&["-t", "tmpfs", "-o", "size=512k", "tmpfs", &disk.display().to_string()]) {
        println!("skipped: no file system can be mounted here: {error}");
        return;
    }
    let unmount = || drop(duct::cmd("umount", ["-l", &disk.display().to_string()]).run());
    // Text that does not compress.
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{state:x}")
    })
    .take(100_000)
    .collect();
    checkout.write("src/large.txt", &noise);
    let outcome = checkout.sync(&["tidy"]);
    if outcome.code != 1 {
        unmount();
    }
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("step `") && outcome.stderr.contains("No space left"), "{outcome:?}");
    unmount();
    checkout.check();
}

#[test]
fn a_merge_with_conflicts_is_refused_before_anything_is_sent() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.git("checkout -q -b other");
    checkout.write("src/a.rs", "theirs\n");
    checkout.git("commit -q -a -m theirs");
    checkout.git("checkout -q main");
    checkout.write("src/a.rs", "ours\n");
    checkout.git("commit -q -a -m ours");
    let merge = duct::cmd("git", ["-c", "user.name=t", "-c", "user.email=t@localhost", "merge", "-q", "other"]);
    let _conflict = merge.dir(&checkout.root).stdout_null().stderr_null().unchecked().run();
    let outcome = checkout.sync(&["tidy"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("finish the merge first"), "{outcome:?}");
}

#[test]
fn this_side_is_left_as_it_was() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    checkout.write("src/new.rs", "untracked\n");
    let index = || std::fs::read(checkout.root.join(".git/index")).expect("an index");
    let refs = || duct::cmd("git", ["for-each-ref"]).dir(&checkout.root).read().expect("refs");
    let before = (index(), refs());
    checkout.copy();
    assert!(before == (index(), refs()));
}

#[test]
fn setup_makes_a_host_ready_and_deploy_installs_there() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let machines = &checkout.machines;
    machines.program("cargo", "{ pwd; printf '%s ' \"$@\"; echo; } >> \"$HOME/calls\"; test \"$2\" != ci");
    let bin = machines.path("bin").display().to_string();
    machines.configure(&format!("# mine\n[hosts.bare]\nssh = 'box'\npath = ['{bin}']\n"));
    let outcome = machines.run_in(&checkout.root, &["remote", "setup", "bare", "--repo", "src/of setup"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(machines.far("src/of setup/src/a.rs").is_file());
    let calls = || std::fs::read_to_string(machines.far("calls")).expect("calls");
    assert!(calls().contains("src/of setup\nxtask build all \n"), "{}", calls());
    let file = std::fs::read_to_string(machines.near("config/llorch/config.toml")).expect("a file");
    assert!(
        file.starts_with("# mine\n")
            && file.contains("repo = \"src/of setup\"")
            && file.contains("backends = [\"cpu\""),
        "{file}"
    );
    // Again: nothing is lost, nothing fails.
    std::fs::write(machines.far("src/of setup/src/a.rs"), "their work").expect("a file");
    assert_eq!(machines.run_in(&checkout.root, &["remote", "setup", "bare", "--no-build"]).code, 0);
    assert_eq!(std::fs::read_to_string(machines.far("src/of setup/src/a.rs")).expect("a file"), "their work");
    let outcome = machines.run_in(&checkout.root, &["remote", "deploy", "bare", "--prefix", "/opt/it's"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(calls().contains("xtask install --prefix /opt/it's"), "{}", calls());
    // What is missing is said at once, all of it.
    machines.configure(&format!("[hosts.bare]\nssh = 'box'\npath = ['{bin}']\n[hosts.bare.env]\nPATH = '/nowhere'\n"));
    let outcome = machines.run_in(&checkout.root, &["remote", "setup", "bare"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("git is missing") && outcome.stderr.contains("cc is missing"), "{outcome:?}");
}

#[test]
fn a_program_comes_back_only_as_its_host_has_it() {
    if !is_possible() {
        return;
    }
    let checkout = Checkout::new();
    let machines = &checkout.machines;
    let built = machines.far("built");
    let bin = machines.path("bin").display().to_string();
    machines.configure(&format!("[hosts.box]\npath = ['{bin}']\n[hosts.box.env]\n{}", machines.toolchain()));
    let rustc = duct::cmd("rustc", ["--print", "sysroot"]).read().expect("rustc");
    std::os::unix::fs::symlink(Path::new(&rustc).join("bin/rustc"), machines.path("bin/rustc")).expect("a link");
    let target = duct::cmd("rustc", ["-vV"]).read().expect("rustc");
    let target = target.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
    let stamp = |target: &str| {
        format!(
            r#"{{"program":"llorch-pool","version":"1","features":[],"commit":"c","target":"{target}","profile":"release"}}"#
        )
    };
    let build = |target: &str, says: &str| {
        std::fs::write(&built, format!("#!/bin/sh\necho '{says}'\n")).expect("a file");
        std::fs::set_permissions(&built, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let event = format!(
            r#"{{"event":"built","program":"llorch-pool","path":"{}","stamp":{}}}"#,
            built.display(),
            stamp(target)
        );
        machines.program("cargo", &format!("echo '{event}'"));
        checkout.sync(&["build", "pool", "--fetch"])
    };
    let outcome = build(&target, &stamp(&target));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let home = checkout.root.join("target/remote/box/llorch-pool");
    assert_eq!(outcome.text().trim_end(), home.display().to_string());
    assert_eq!(std::fs::read(&home).expect("a file"), std::fs::read(&built).expect("a file"));
    std::fs::remove_file(&home).expect("a file");
    // Stamped for another machine than the one it was built on.
    let outcome = build("riscv128-none", &stamp("riscv128-none"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("llorch-pool") && !home.exists(), "{outcome:?}");
    // Cut off on the way.
    machines.program("cat", "/bin/cat \"$2\" | head -c 9");
    let outcome = build(&target, &stamp(&target));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("did not arrive") && !home.exists(), "{outcome:?}");
    std::fs::remove_file(machines.path("bin/cat")).expect("a script");
    // It is not run on this side: it would make a file here.
    let canary = machines.near("canary");
    let outcome = build(&target, &format!("x'; touch '{}", canary.display()));
    assert_eq!((outcome.code, canary.exists()), (0, false), "{outcome:?}");
    // A build that failed has made nothing to fetch, and says why; one that names nothing has not succeeded.
    machines.program("cargo", "echo '{\"event\":\"error\",\"message\":\"no linker\"}'; exit 101");
    let outcome = checkout.sync(&["build", "pool", "--fetch", "--json"]);
    assert_eq!(outcome.code, 101);
    assert!(outcome.text().contains("no linker"), "{outcome:?}");
    machines.program("cargo", "echo '{\"event\":\"done\"}'");
    assert_eq!(checkout.sync(&["build", "pool", "--fetch"]).code, 1);
}
