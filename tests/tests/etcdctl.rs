//! etcd's own command-line client, unmodified, against our server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use kvwatch_tests::etcd::{Etcdctl, ServerProcess};
use kvwatch_tests::{eventually, in_time};

fn server() -> (ServerProcess, Etcdctl) {
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
    let etcdctl = Etcdctl::new(server.address());
    (server, etcdctl)
}

/// A command that runs until it is killed.
struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(etcdctl: &Etcdctl, arguments: &[&str]) -> Self {
        let mut child = etcdctl
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl: apt-get install etcd-client");
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            lines,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn keys_are_put_read_and_deleted() {
    let (_server, etcdctl) = server();
    for (key, value) in [("a", "3"), ("ab", "2"), ("b", "1"), ("c", "0")] {
        assert_eq!(etcdctl.run(&["put", key, value]), "OK\n");
    }
    assert_eq!(etcdctl.run(&["put", "a", "4", "--prev-kv"]), "OK\na\n3\n");
    assert_eq!(etcdctl.run(&["get", "a"]), "a\n4\n");
    assert_eq!(etcdctl.run(&["get", "a", "--rev=2"]), "a\n3\n");
    assert_eq!(
        etcdctl.run(&["get", "a", "b", "--print-value-only"]),
        "4\n2\n"
    );
    assert_eq!(
        etcdctl.run(&["get", "a", "--prefix", "--keys-only"]),
        "a\n\nab\n\n"
    );
    assert_eq!(
        etcdctl.run(&["get", "ab", "--from-key", "--limit=2"]),
        "ab\n2\nb\n1\n"
    );
    let by_value = [
        "get",
        "",
        "--prefix",
        "--sort-by=VALUE",
        "--order=DESCEND",
        "--keys-only",
    ];
    assert_eq!(etcdctl.run(&by_value), "a\n\nab\n\nb\n\nc\n\n");
    let count = ["get", "", "--prefix", "--limit=1", "--write-out=fields"];
    assert!(etcdctl.run(&count).contains("\"Count\" : 4"));
    let json = etcdctl.run(&["get", "a", "-w", "json"]);
    assert!(
        json.contains(r#""create_revision":2,"mod_revision":6,"version":2"#),
        "{json}"
    );
    assert_eq!(
        etcdctl.run(&["put", "a", "--ignore-value", "--lease=0"]),
        "OK\n"
    );
    assert_eq!(
        etcdctl.run(&["del", "a", "--prefix", "--prev-kv"]),
        "2\na\n4\nab\n2\n"
    );
    assert_eq!(etcdctl.run(&["del", "a"]), "0\n");
    let refused = etcdctl.fail(&["put", "none", "--ignore-value"]);
    assert!(refused.contains("etcdserver: key not found"), "{refused}");
}

#[test]
fn a_transaction_takes_the_branch_of_its_conditions() {
    let (_server, etcdctl) = server();
    let _ = etcdctl.run(&["put", "user", "old"]);
    let script = "value(\"user\") = \"old\"\nmod(\"user\") < \"9\"\n\nput user new\nget user\n\ndel user\n\n";
    assert_eq!(
        etcdctl.feed(&["txn"], script),
        "SUCCESS\n\nOK\n\nuser\nnew\n"
    );
    assert_eq!(etcdctl.feed(&["txn"], script), "FAILURE\n\n1\n");
}

#[test]
fn compacted_revisions_are_refused() {
    let (_server, etcdctl) = server();
    for value in ["1", "2", "3"] {
        let _ = etcdctl.run(&["put", "a", value]);
    }
    assert_eq!(etcdctl.run(&["compaction", "3"]), "compacted revision 3\n");
    assert_eq!(
        etcdctl.run(&["compaction", "4", "--physical"]),
        "compacted revision 4\n"
    );
    assert_eq!(etcdctl.run(&["get", "a", "--rev=4"]), "a\n3\n");
    let refused = etcdctl.fail(&["get", "a", "--rev=3"]);
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
    let refused = etcdctl.fail(&["compaction", "4"]);
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
    let refused = etcdctl.fail(&["compaction", "5"]);
    assert!(
        refused.contains("required revision is a future revision"),
        "{refused}"
    );
    let refused = etcdctl.fail(&["watch", "a", "--rev=2"]);
    assert!(
        refused.contains("watch is canceled by the server"),
        "{refused}"
    );
}

#[test]
fn resumable_watch_goes_from_the_past_to_live_events() {
    in_time(|| {
        let (_server, etcdctl) = server();
        let _ = etcdctl.run(&["put", "app/a", "1"]);
        let _ = etcdctl.run(&["put", "b", "1"]);
        let _ = etcdctl.run(&["put", "app/a", "2"]);
        let watch = ["watch", "app/", "--prefix", "--rev=2", "--prev-kv"];
        let mut watch = Running::start(&etcdctl, &watch);
        assert_eq!(watch.lines(3), ["PUT", "app/a", "1"]);
        assert_eq!(watch.lines(5), ["PUT", "app/a", "1", "app/a", "2"]);
        let _ = etcdctl.run(&["del", "app/a"]);
        assert_eq!(watch.lines(5), ["DELETE", "app/a", "2", "app/a", ""]);
        let mut range = Running::start(&etcdctl, &["watch", "b", "d", "--rev=1"]);
        assert_eq!(range.lines(3), ["PUT", "b", "1"]);
        let _ = etcdctl.run(&["put", "d", "beyond"]);
        let _ = etcdctl.run(&["put", "c", "within"]);
        assert_eq!(range.lines(3), ["PUT", "c", "within"]);
    });
}

#[test]
fn several_watches_share_an_interactive_session() {
    in_time(|| {
        let (_server, etcdctl) = server();
        let mut session = Running::start(&etcdctl, &["watch", "--interactive"]);
        // The watches start at revision 1, so it does not matter when they are registered.
        session
            .stdin
            .write_all(b"watch a --rev=1\nwatch b c --rev=1\n")
            .unwrap();
        let _ = etcdctl.run(&["put", "a", "1"]);
        assert_eq!(session.lines(3), ["PUT", "a", "1"]);
        let _ = etcdctl.run(&["put", "bb", "2"]);
        assert_eq!(session.lines(3), ["PUT", "bb", "2"]);
        session.stdin.write_all(b"progress\n").unwrap();
        assert!(session.line().starts_with("progress notify: 3"));
    });
}

#[test]
fn keys_are_deleted_with_their_lease() {
    in_time(|| {
        let (_server, etcdctl) = server();
        let granted = etcdctl.run(&["lease", "grant", "2"]);
        let lease = granted.split_whitespace().nth(1).unwrap().to_owned();
        assert_eq!(granted, format!("lease {lease} granted with TTL(2s)\n"));
        let attach = format!("--lease={lease}");
        let _ = etcdctl.run(&["put", "a", "1", &attach]);
        let _ = etcdctl.run(&["put", "b", "1", &attach]);
        assert!(etcdctl.run(&["lease", "list"]).contains(&lease));
        let left = etcdctl.run(&["lease", "timetolive", &lease, "--keys"]);
        assert!(left.contains("attached keys([a b])"), "{left}");

        let mut alive = Running::start(&etcdctl, &["lease", "keep-alive", &lease]);
        let kept = format!("lease {lease} keepalived with TTL(2)");
        // Longer than the granted TTL.
        assert_eq!(alive.lines(5), vec![kept; 5]);
        assert_eq!(etcdctl.run(&["get", "a"]), "a\n1\n");
        let mut watch = Running::start(
            &etcdctl,
            &["watch", "", "--prefix", "--rev=4", "-w", "json"],
        );
        drop(alive);
        let deleted = watch.line();
        // Both keys in one revision.
        assert_eq!(
            deleted.matches(r#""mod_revision":4"#).count(),
            2,
            "{deleted}"
        );
        assert_eq!(etcdctl.run(&["get", "", "--prefix"]), "");
        let left = etcdctl.run(&["lease", "timetolive", &lease]);
        assert_eq!(left, format!("lease {lease} already expired\n"));

        let granted = etcdctl.run(&["lease", "grant", "600"]);
        let lease = granted.split_whitespace().nth(1).unwrap();
        let _ = etcdctl.run(&["put", "c", "1", &format!("--lease={lease}")]);
        assert_eq!(
            etcdctl.run(&["lease", "revoke", lease]),
            format!("lease {lease} revoked\n")
        );
        assert_eq!(etcdctl.run(&["get", "c"]), "");
        let refused = etcdctl.fail(&["lease", "revoke", lease]);
        assert!(
            refused.contains("etcdserver: requested lease not found"),
            "{refused}"
        );
    });
}

#[test]
fn the_endpoint_reports_health_status_and_members() {
    let (server, etcdctl) = server();
    let health = etcdctl.output(&["endpoint", "health"]);
    let printed = String::from_utf8_lossy(&health.stderr).into_owned()
        + &String::from_utf8_lossy(&health.stdout);
    assert!(
        printed.contains("is healthy: successfully committed proposal"),
        "{printed}"
    );
    let status = etcdctl.run(&["endpoint", "status", "-w", "json"]);
    assert!(status.contains(r#""version":"3.5.13""#), "{status}");
    let members = etcdctl.run(&["member", "list"]);
    assert!(members.contains(server.address()), "{members}");
    assert_eq!(etcdctl.run(&["alarm", "list"]), "");
    let refused = etcdctl.fail(&["user", "list"]);
    assert!(refused.contains("Unimplemented"), "{refused}");
}

#[test]
fn users_must_log_in() {
    let program = env!("CARGO_BIN_EXE_server");
    let server = ServerProcess::start(program, &["--user", "root:secret"]);
    let root = Etcdctl::new(server.address()).with(&["--user=root:secret"]);
    assert_eq!(root.run(&["put", "a", "1"]), "OK\n");
    assert_eq!(root.run(&["get", "a"]), "a\n1\n");
    let mut watch = Running::start(&root, &["watch", "a", "--rev=1"]);
    assert_eq!(watch.lines(3), ["PUT", "a", "1"]);
    let anonymous = Etcdctl::new(server.address());
    let refused = anonymous.fail(&["get", "a"]);
    assert!(
        refused.contains("etcdserver: user name is empty"),
        "{refused}"
    );
    let wrong = anonymous.with(&["--user=root:guess"]).fail(&["get", "a"]);
    assert!(
        wrong.contains("authentication failed, invalid user ID or password"),
        "{wrong}"
    );
}

#[test]
fn resumable_watch_goes_on_when_the_server_was_killed() {
    in_time(|| {
        let (mut server, etcdctl) = server();
        let _ = etcdctl.run(&["put", "a", "1"]);
        let mut watch = Running::start(&etcdctl, &["watch", "a", "--rev=1"]);
        assert_eq!(watch.lines(3), ["PUT", "a", "1"]);
        server.kill();
        server.restart();
        eventually("the server answers again", || {
            let put = etcdctl.output(&["put", "a", "2"]);
            thread::sleep(Duration::from_millis(10));
            put.status.success()
        });
        assert_eq!(watch.lines(3), ["PUT", "a", "2"]);
    });
}

/// Runs openssl in this folder.
fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl: apt-get install openssl");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments}: {errors}");
}

#[test]
fn server_and_client_authenticate_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1";
    openssl(
        folder.path(),
        &format!("req -x509 {key} -subj /CN=ca -keyout ca.key -out ca.pem"),
    );
    for name in ["server", "client"] {
        fs::write(path("san"), "subjectAltName=IP:127.0.0.1").unwrap();
        openssl(
            folder.path(),
            &format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        );
        openssl(
            folder.path(),
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \
                 -extfile san -out {name}.pem"
            ),
        );
    }
    let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let arguments = ["--cert", &cert, "--key", &key, "--client-ca", &ca];
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &arguments);
    let address = format!("https://{}", server.address());
    let trusting = Etcdctl::new(&address).with(&["--cacert", &ca, "--dial-timeout=2s"]);
    let (own, own_key) = (path("client.pem"), path("client.key"));
    let authenticated = trusting.clone().with(&["--cert", &own, "--key", &own_key]);
    assert_eq!(authenticated.run(&["put", "a", "1"]), "OK\n");
    assert_eq!(authenticated.run(&["get", "a"]), "a\n1\n");
    let _ = trusting.with(&["--command-timeout=2s"]).fail(&["get", "a"]);
}
