//! A job: this program under `mpirun`, until it ends or its time is over.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::scenario::{RANK_TIMEOUT, Scenario, VARIABLE};

/// The time from the moment at which a rank is lost to the end of the job, beyond the ranks' deadline: that of starting
/// the processes, of `mpirun`'s grace periods, and of a busy machine.
const SLACK: Duration = Duration::from_secs(20);

/// The two MPI libraries that are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    OpenMpi,
    Mpich,
}

impl Library {
    /// The one that this program is built with.
    pub(crate) fn own() -> Self {
        let version = mpi::environment::library_version().expect("text");
        if version.contains("Open MPI") { Self::OpenMpi } else { Self::Mpich }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::OpenMpi => Self::Mpich,
            Self::Mpich => Self::OpenMpi,
        }
    }

    /// Its `mpirun`, if it is installed. Debian adds the library's name where both are installed.
    pub(crate) fn mpirun(self) -> Option<&'static str> {
        let name = match self {
            Self::OpenMpi => "mpirun.openmpi",
            Self::Mpich => "mpirun.mpich",
        };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&folders).any(|folder| folder.join(name).exists());
        if installed { Some(name) } else { (self == Self::own()).then_some("mpirun") }
    }
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct Ended {
    #[expect(dead_code, reason = "printed by Debug")]
    pub(crate) scenario: Scenario,
    /// None if a signal ended `mpirun`.
    pub(crate) code: Option<i32>,
    /// Standard output, then standard error.
    pub(crate) output: String,
    pub(crate) duration: Duration,
}

/// Runs `scenario` on `ranks` ranks of the library that this program is built with.
///
/// # Panics
/// When the job does not end in time, or leaves processes behind.
pub(crate) fn run(ranks: usize, scenario: Scenario) -> Ended {
    run_under(Library::own(), ranks, scenario)
}

/// [`run`], under the `mpirun` of `library`.
pub(crate) fn run_under(library: Library, ranks: usize, scenario: Scenario) -> Ended {
    let mut command = Command::new(library.mpirun().expect("an mpirun"));
    if library == Library::OpenMpi {
        command.args(["--oversubscribe", "--bind-to", "none"]);
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    command.args(["-n", &ranks.to_string()]).arg(std::env::current_exe().unwrap());
    command.env(VARIABLE, scenario.to_string()).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap()
        })
    };
    let readers = [read(Box::new(stdout)), read(Box::new(stderr))];
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > 4 * RANK_TIMEOUT + SLACK => {
                child.kill().unwrap();
                panic!("{scenario} on {ranks} ranks: mpirun has not ended after {:?}", start.elapsed());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let duration = start.elapsed();
    let output = readers.map(|reader| reader.join().unwrap()).concat();
    let ended = Ended { scenario, code: status.code(), output, duration };
    ended.check_nothing_is_left();
    ended
}

impl Ended {
    /// Every rank prints `pid N`. None of these processes exists any more.
    fn check_nothing_is_left(&self) {
        let pids = self.output.lines().filter_map(|line| line.strip_prefix("pid "));
        for pid in pids {
            let process = Path::new("/proc").join(pid).join("stat");
            let exists = || {
                let stat = std::fs::read_to_string(&process).unwrap_or_default();
                // The state follows the name, which is in parentheses. A zombie has ended.
                stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
            };
            let start = Instant::now();
            while exists() && start.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(!exists(), "process {pid} is left: {self:#?}");
        }
    }

    /// The job succeeded.
    pub(crate) fn assert_success(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
    }

    /// The job failed, with `code` if it is given.
    pub(crate) fn assert_failure(&self, code: Option<i32>) {
        assert_ne!(self.code, Some(0), "{self:#?}");
        assert!(code.is_none() || self.code == code, "expected {code:?}: {self:#?}");
    }

    /// A line of the output contains all of `words`.
    pub(crate) fn assert_line(&self, words: &[&str]) {
        let found = self.output.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?}: {self:#?}");
    }
}
