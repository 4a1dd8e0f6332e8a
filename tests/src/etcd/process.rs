//! Servers as processes, which end with the test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A folder in memory if possible: etcd's syncs to disk would take most of a comparison's time.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).expect("a folder")
    } else {
        tempfile::tempdir().expect("a folder")
    }
}

/// A running `kvwatch-server`.
#[derive(Debug)]
pub struct ServerProcess {
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    address: String,
    child: Child,
}

impl ServerProcess {
    /// Starts `program`, the test's `env!("CARGO_BIN_EXE_server")`.
    ///
    /// # Panics
    /// If the server does not start.
    #[must_use]
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let folder = scratch();
        let program = PathBuf::from(program);
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (child, address) = spawn(&program, folder.path(), "127.0.0.1:0", &arguments);
        Self {
            program,
            arguments,
            folder,
            address,
            child,
        }
    }

    /// The address of the server, which a restart keeps.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A figure of its memory from Linux, in bytes: `VmRSS` now, `VmHWM` at its peak.
    ///
    /// # Panics
    /// If the process has ended, or Linux has no such figure.
    #[must_use]
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(figure));
        let line = line.expect("Linux has the figure");
        let kilobytes = line.trim_matches(|letter: char| !letter.is_ascii_digit());
        1024 * kilobytes.parse::<u64>().expect("a number")
    }

    /// Starts `VmHWM` anew.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn reset_peak(&self) {
        let reset = std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5");
        reset.expect("it was started here");
    }

    /// Sends SIGKILL.
    ///
    /// # Panics
    /// If the process cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// Starts the server again, on the same folder and address.
    pub fn restart(&mut self) {
        let (child, _) = spawn(
            &self.program,
            self.folder.path(),
            &self.address,
            &self.arguments,
        );
        self.child = child;
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(program: &Path, folder: &Path, listen: &str, arguments: &[String]) -> (Child, String) {
    let mut child = Command::new(program)
        .arg("--data")
        .arg(folder.join("store"))
        .args(["--listen", listen])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stdout = child.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("text");
    let address = line.trim().strip_prefix("listening on ");
    let address = address.unwrap_or_else(|| panic!("the server printed {line:?}"));
    (child, address.to_owned())
}

/// A running etcd.
#[derive(Debug)]
pub struct EtcdProcess {
    address: String,
    child: Child,
    _folder: TempDir,
}

impl EtcdProcess {
    /// Starts etcd.
    ///
    /// # Panics
    /// If etcd is not installed. Debian's package is `etcd-server`.
    #[must_use]
    pub fn start() -> Self {
        let folder = scratch();
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{address}");
        let peers = format!("http://127.0.0.1:{}", free_port());
        let log = File::create(folder.path().join("log")).expect("a file");
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            .args(["--logger", "zap", "--log-level", "error"])
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("this test needs etcd: apt-get install etcd-server ({error})")
        });
        Self {
            address,
            child,
            _folder: folder,
        }
    }

    /// The address of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// etcd's command-line client, for one server.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    address: String,
    options: Vec<String>,
}

impl Etcdctl {
    /// A client of the server at this address.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            options: Vec::new(),
        }
    }

    /// Adds arguments in front of every command.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.options
            .extend(arguments.iter().map(|&text| text.to_owned()));
        self
    }

    /// A command that is not started yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.address))
            .args(&self.options)
            .args(arguments);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If etcdctl is not installed. Debian's package is `etcd-client`.
    #[must_use]
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .unwrap_or_else(|error| missing(&error))
    }

    /// The output of a command.
    ///
    /// # Panics
    /// If the command fails.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The error output of a command.
    ///
    /// # Panics
    /// If the command succeeds.
    #[must_use]
    pub fn fail(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?} should fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The output of a command with this input.
    ///
    /// # Panics
    /// If the command cannot be run.
    #[must_use]
    pub fn feed(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| missing(&error));
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn missing<T>(error: &std::io::Error) -> T {
    panic!("this test needs etcdctl: apt-get install etcd-client ({error})")
}
