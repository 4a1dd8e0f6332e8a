//! The example quickstart, run as by its user: on the sample, on a repository, and without one.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvwatch_examples::quickstart::run;

/// Runs the example with these arguments. Returns its output, or the error.
fn quickstart(arguments: &[&str]) -> Result<String, String> {
    let program = &["quickstart"][..];
    program::output(&[program, arguments].concat(), run)
}

fn sample() -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample.jsonl");
    sample.to_str().expect("a path of text").to_owned()
}

/// A column of a watcher's line in the report.
fn column(out: &str, watcher: &str, column: usize) -> u64 {
    let line = out.lines().find(|line| line.starts_with(watcher));
    let line = line.unwrap_or_else(|| panic!("no {watcher} in {out}"));
    let field = line.split_whitespace().nth(column).expect("a column");
    field.parse().expect("a number")
}

/// A git repository in a temporary folder. Its commits have a fixed author.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "trunk"]);
        repository
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("a path of text")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn git(&self, arguments: &[&str]) {
        let done = Command::new("git")
            .current_dir(self.0.path())
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=e@x",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .output()
            .expect("git is installed, as make test ensures");
        let message = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "git {arguments:?}: {message}");
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&[
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one\n\n:000000 not an entry",
        ]);
    }

    /// A history with renames, deletions, unusual names, a link, an empty commit and a merge.
    fn eventful() -> Self {
        let repository = Self::new();
        fs::create_dir(repository.file("d")).unwrap();
        for name in ["a", "d/ü x", "d/new\nline", "d/:colon", "d/\u{1}one"] {
            fs::write(repository.file(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", repository.file("link")).unwrap();
        repository.commit();
        repository.commit();
        fs::rename(repository.file("d/ü x"), repository.file("moved")).unwrap();
        fs::remove_file(repository.file("a")).unwrap();
        repository.commit();
        repository.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
        fs::write(repository.file("d/side"), "s").unwrap();
        repository.commit();
        repository.git(&["checkout", "-q", "trunk"]);
        repository.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
        for number in 0..40 {
            fs::write(repository.file("d/often"), number.to_string()).unwrap();
            repository.commit();
        }
        repository
    }
}

#[test]
fn watchers_of_the_sample_receive_what_the_store_has() {
    let out = quickstart(&["--changes", &sample()]).unwrap();
    assert!(out.contains("every watcher received what the store has"));
    let everything = column(&out, "everything", 1);
    assert_eq!(everything, 331);
    for other in ["tokio", "async-std", "slow"] {
        assert_eq!(column(&out, other, 1), everything);
    }
    assert!(column(&out, "late", 1) < everything);
    assert_eq!(column(&out, "late", 4), 81, "from the middle on");
    assert!(column(&out, "key", 1) > 0 && column(&out, "prefix", 1) > 0);
    assert!(
        out.contains("prev_value: Value("),
        "the key's watcher asked for it"
    );
}

#[test]
fn watchers_of_a_repository_receive_its_files() {
    let repository = Repository::eventful();
    let out = quickstart(&["--repo", repository.path()]).unwrap();
    assert!(out.contains("watching key b\"d/often\", prefix b\"d/\""));
    assert!(out.contains("44 transactions"), "along the first parents");
    assert!(out.contains("the store has the 7 files of commit"));
    assert_eq!(column(&out, "key", 1), 40);
    assert_eq!(column(&out, "everything", 3), 2, "deletions");
}

#[test]
fn second_run_continues_after_the_first() {
    let repository = Repository::eventful();
    let data = tempfile::tempdir().unwrap();
    let arguments = [
        "--repo",
        repository.path(),
        "--data",
        data.path().to_str().unwrap(),
    ];
    quickstart(&[&arguments[..], &["--limit", "3"]].concat()).unwrap();
    let out = quickstart(&arguments).unwrap();
    assert!(out.contains("continues after revision 3"));
    assert!(out.contains("41 transactions are new"));
    assert_eq!(column(&out, "late", 4), 23, "from the middle of the log");
    let out = quickstart(&arguments).unwrap();
    assert!(out.contains("nothing to load"));
    assert_eq!(column(&out, "everything", 1), 0);
    assert!(column(&out, "late", 1) > 0, "it replays without new events");

    let other = quickstart(&["--changes", &sample(), arguments[2], arguments[3]]).unwrap_err();
    assert!(other.contains("another --data folder"), "{other}");
}

#[test]
fn missing_repository_error_names_alternatives() {
    let nowhere = tempfile::tempdir().unwrap();
    let error = quickstart(&["--repo", nowhere.path().to_str().unwrap()]).unwrap_err();
    assert!(error.contains("is not in a git repository"), "{error}");
    assert!(error.contains("--changes examples/sample.jsonl"), "{error}");
    let empty = Repository::new();
    let error = quickstart(&["--repo", empty.path()]).unwrap_err();
    assert!(error.contains("with a commit"), "{error}");
    let missing = quickstart(&["--repo", "not/there"]).unwrap_err();
    assert!(missing.contains("not/there"), "{missing}");
}

#[test]
fn invalid_arguments_and_files_are_named_in_the_error() {
    let nowhere = tempfile::tempdir().unwrap();
    let file = nowhere.path().join("changes.jsonl");
    let path = file.to_str().unwrap();
    assert!(quickstart(&["--changes", path]).unwrap_err().contains(path));
    fs::write(&file, "\n").unwrap();
    let empty = quickstart(&["--changes", path]).unwrap_err();
    assert!(empty.contains("nothing to load"), "{empty}");
    fs::write(&file, "{\"tx\":1,\"put\":\"k\"}\n").unwrap();
    let line = quickstart(&["--changes", path]).unwrap_err();
    assert!(
        line.contains("line 1") && line.contains("without a value"),
        "{line}"
    );
    let both = quickstart(&["--changes", path, "--repo", "."]).unwrap_err();
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn sample_named_in_messages_exists() {
    assert!(Path::new(&sample()).is_file());
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).file_name().unwrap();
    assert_eq!(
        here, "examples",
        "messages name it from the repository's root"
    );
}
