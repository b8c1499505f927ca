//! Runs the programs in a temporary directory, for the end-to-end tests. The tests are in `tests/`; the golden files
//! and their generators are in `golden/`.
//!
//! The functions panic on failure, because every caller is a test.

/// The Rust code of the README, which `cargo test` compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use cargo_metadata::Message;

/// Asserts that two checkpoints hold the same bits of weights and training state.
pub fn same_checkpoint(a: &Path, b: &Path) {
    for name in ["model.safetensors", "training.safetensors", "state.json"] {
        let [a, b] = [a, b].map(|checkpoint| checkpoint.join(name));
        let bytes = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(bytes(&a) == bytes(&b), "{} and {} differ", a.display(), b.display());
    }
}

/// A program of the workspace, to be run in a given directory.
#[derive(Debug)]
pub struct Program {
    command: Command,
}

/// `ddpm-train` in `directory`, with two threads.
pub fn train(directory: &Path) -> Program {
    Program::new("ddpm-train", directory, &[])
}

/// `ddpm-sample` in `directory`, with two threads.
pub fn sample(directory: &Path) -> Program {
    Program::new("ddpm-sample", directory, &[])
}

/// `ddpm-sample evaluate` in `directory`, with two threads.
pub fn evaluate(directory: &Path) -> Program {
    Program::new("ddpm-sample", directory, &["evaluate"])
}

impl Program {
    fn new(name: &str, directory: &Path, mode: &[&str]) -> Self {
        let mut command = Command::new(executable(name));
        command.current_dir(directory).args(mode).args(["--threads", "2"]).stdin(Stdio::null()).env_remove("RUST_LOG");
        command.env("DDPM_CACHE_DIR", directory.join(".cache")).env("DDPM_FEATURES_DIR", directory);
        Self { command }
    }

    /// Adds arguments, separated by white space.
    pub fn args(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    /// Adds one argument as it is.
    pub fn arg(mut self, word: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable of this process.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Redirects standard output to `file`.
    pub fn stdout(mut self, file: std::fs::File) -> Self {
        self.command.stdout(file);
        self
    }

    /// Redirects standard error to `file`.
    pub fn stderr(mut self, file: std::fs::File) -> Self {
        self.command.stderr(file);
        self
    }

    /// Runs the program and returns its output.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn output(mut self) -> Output {
        self.command.output().expect("the program starts")
    }

    /// Runs the program, which must succeed, and returns its standard output.
    ///
    /// # Panics
    /// If the program fails. The message contains its output.
    pub fn succeed(self) -> String {
        let output = self.output();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Runs the program, which must exit with `code`, and returns the last error line of its standard error.
    ///
    /// # Panics
    /// If the program exits with another code or panics.
    pub fn fail(self, code: i32) -> String {
        let output = self.output();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{}\n{err}", output.status);
        assert!(!err.contains("panicked"), "{err}");
        err.lines()
            .rev()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_else(|| panic!("no error line: {err}"))
            .into()
    }

    /// Starts the program and returns without waiting for it.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(mut self) -> std::process::Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Runs a command of a POSIX shell first, which changes the process that becomes the program: `trap '' HUP` to
    /// ignore a signal, `ulimit -f 100` for a limit.
    pub fn after(self, shell_command: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{shell_command}; exec \"$0\" \"$@\"")).arg(self.command.get_program());
        shell.args(self.command.get_args()).stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            shell.current_dir(directory);
        }
        Self { command: shell }
    }
}

/// The executable with this name. The programs are built once per test process, with the profile of `cargo run`.
fn executable(name: &str) -> &'static Path {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        // Variables that describe the package under test. Some build scripts depend on them and would run again.
        for (name, _) in std::env::vars_os() {
            let describes_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            if name.to_str().is_some_and(|name| describes_package.iter().any(|prefix| name.starts_with(prefix))) {
                cargo.env_remove(name);
            }
        }
        let output = cargo
            .args(["build", "--locked", "--message-format=json", "--manifest-path", manifest])
            .args(["-p", "ddpm-train", "-p", "ddpm-sample"])
            .args(if cfg!(feature = "candle-datasets") {
                &["--features", "ddpm-train/candle-datasets"][..]
            } else {
                &[]
            })
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo starts");
        assert!(output.status.success(), "cargo build failed");
        Message::parse_stream(&*output.stdout)
            .filter_map(|message| match message {
                Ok(Message::CompilerArtifact(artifact)) => artifact.executable.map(PathBuf::from),
                _ => None,
            })
            .collect()
    });
    built.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name)).expect("the program was built")
}
