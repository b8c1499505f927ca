//! What the end-to-end tests share: the programs, built and run in a temporary directory. The tests themselves are under
//! `tests/`, the golden files and their generators beside them.
//!
//! It panics freely: every caller is a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use cargo_metadata::Message;

/// Whether two checkpoints hold the same bits of what the run has learnt.
pub fn same_checkpoint(a: &Path, b: &Path) {
    for name in ["model.safetensors", "training.safetensors", "state.json"] {
        let [a, b] = [a, b].map(|checkpoint| checkpoint.join(name));
        let bytes = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(bytes(&a) == bytes(&b), "{} and {} differ", a.display(), b.display());
    }
}

/// A program of the workspace, about to be run in a directory of its own.
#[derive(Debug)]
pub struct Program {
    command: Command,
}

/// `ddpm-train` in `directory`, on two threads.
pub fn train(directory: &Path) -> Program {
    Program::new("ddpm-train", directory)
}

/// `ddpm-sample` in `directory`, on two threads.
pub fn sample(directory: &Path) -> Program {
    Program::new("ddpm-sample", directory)
}

impl Program {
    fn new(name: &str, directory: &Path) -> Self {
        let mut command = Command::new(executable(name));
        command.current_dir(directory).args(["--threads", "2"]).stdin(Stdio::null()).env_remove("RUST_LOG");
        Self { command }
    }

    /// With further arguments, split at spaces.
    pub fn args(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    /// With one further argument, as it is.
    pub fn arg(mut self, word: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// With a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without a variable of this process's environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// With standard output going to `file`.
    pub fn stdout(mut self, file: std::fs::File) -> Self {
        self.command.stdout(file);
        self
    }

    /// With standard error going to `file`.
    pub fn stderr(mut self, file: std::fs::File) -> Self {
        self.command.stderr(file);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn output(mut self) -> Output {
        self.command.output().expect("the program starts")
    }

    /// Runs it to its end, which has to be success; its standard output.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn succeed(self) -> String {
        let output = self.output();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Runs it to its end, which has to be the exit code `code`; the last line of its standard error.
    ///
    /// # Panics
    /// When it ends otherwise, or with a panic.
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

    /// Starts it and leaves it running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(mut self) -> std::process::Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }
}

/// The executable of that name, built once a test process with the profile that `cargo run` uses.
fn executable(name: &str) -> &'static Path {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let output = Command::new(env!("CARGO"))
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
