//! How the processes of a job were started, from the environment variables of their launcher.

use crate::error::DistributedError;
use crate::launcher::Launcher;

/// The place of this process in its job, as the launcher tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Who started the processes.
    pub launcher: Launcher,
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of processes, at least 1.
    pub size: usize,
    /// The number of this process among those of its host, from 0. It selects the GPU.
    pub local_rank: usize,
    /// The number of processes of this host, at least 1.
    pub local_size: usize,
}

impl Launch {
    /// The launch of this process; `None` if no launcher started it.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn of_this_process() -> Result<Option<Self>, DistributedError> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// The launch that the variables describe which `lookup` finds by name. Open MPI comes first, then PMI, Slurm and
    /// torchrun, because `mpirun` is often called inside a job of Slurm and passes Slurm's variables on.
    ///
    /// # Errors
    /// When a launcher is recognized but one of its variables is missing or malformed.
    ///
    /// # Examples
    /// ```
    /// use ddpm_distributed::{Launch, Launcher};
    ///
    /// let lookup = |name: &str| match name {
    ///     "OMPI_COMM_WORLD_RANK" | "OMPI_COMM_WORLD_LOCAL_RANK" => Some("1".to_string()),
    ///     "OMPI_COMM_WORLD_SIZE" | "OMPI_COMM_WORLD_LOCAL_SIZE" => Some("4".to_string()),
    ///     _ => None,
    /// };
    /// let launch = Launch::from_variables(lookup)?.expect("the variables are those of Open MPI");
    /// assert_eq!((launch.launcher, launch.rank, launch.size), (Launcher::OpenMpi, 1, 4));
    /// assert_eq!(Launch::from_variables(|_| None)?, None);
    /// # Ok::<(), ddpm_distributed::DistributedError>(())
    /// ```
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, DistributedError> {
        let variables = Variables(&lookup);
        let launch = if variables.has("OMPI_COMM_WORLD_RANK") {
            variables.launch(
                Launcher::OpenMpi,
                [
                    &["OMPI_COMM_WORLD_RANK"],
                    &["OMPI_COMM_WORLD_SIZE"],
                    &["OMPI_COMM_WORLD_LOCAL_RANK"],
                    &["OMPI_COMM_WORLD_LOCAL_SIZE"],
                ],
            )?
        } else if variables.of_pmi() {
            variables.launch(
                Launcher::Pmi,
                [
                    &["PMI_RANK", "PMIX_RANK"],
                    &["PMI_SIZE"],
                    &["MPI_LOCALRANKID", "PMI_LOCAL_RANK"],
                    &["MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"],
                ],
            )?
        } else if variables.in_slurm_step() {
            variables.slurm()?
        } else if variables.has("RANK") && variables.has("WORLD_SIZE") {
            variables.torchrun()?
        } else {
            return Ok(None);
        };
        Ok(Some(launch))
    }
}

/// Environment variables.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn has(&self, name: &str) -> bool {
        (self.0)(name).is_some()
    }

    /// Whether `srun` started this process. The script of `sbatch` has SLURM_PROCID as well, but no step.
    fn in_slurm_step(&self) -> bool {
        self.has("SLURM_STEP_ID") && self.has("SLURM_PROCID")
    }

    /// Whether a process manager that speaks PMI or PMIx started this process. `srun` speaks both as well, but says
    /// only in its own variables how many processes a host has.
    fn of_pmi(&self) -> bool {
        (self.has("PMI_RANK") || self.has("PMIX_RANK")) && (self.has("MPI_LOCALRANKID") || !self.in_slurm_step())
    }

    /// A launch whose rank, size, local rank and local size are in the first that is set of four lists of variables.
    fn launch(&self, launcher: Launcher, names: [&[&str]; 4]) -> Result<Launch, DistributedError> {
        let [rank, size, local_rank, local_size] = names.map(|names| self.first_of(names));
        Launch { launcher, rank: rank?.1, size: size?.1, local_rank: local_rank?.1, local_size: local_size?.1 }
            .checked(names.map(|names| self.first_of(names).map_or("", |(name, _)| name)))
    }

    fn slurm(&self) -> Result<Launch, DistributedError> {
        let names = ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"];
        let [rank, size, local_rank] = [names[0], names[1], names[2]].map(|name| self.number(name));
        let (rank, size, local_rank) = (rank?, size?, local_rank?);
        let local_size = self.slurm_tasks_of_node()?.unwrap_or(size);
        Launch { launcher: Launcher::Slurm, rank, size, local_rank, local_size }.checked(names)
    }

    /// The number of tasks of this node of the step. Slurm writes `2(x3),1` for three nodes with two tasks and one with
    /// one.
    fn slurm_tasks_of_node(&self) -> Result<Option<usize>, DistributedError> {
        let name = "SLURM_STEP_TASKS_PER_NODE";
        let Some(found) = (self.0)(name) else { return Ok(None) };
        let mut node = if self.has("SLURM_NODEID") { self.number("SLURM_NODEID")? } else { 0 };
        let malformed = || error(name, "numbers of tasks such as 2(x3),1 that include this node", Some(&found));
        for part in found.split(',') {
            let (tasks, nodes) = match part.split_once("(x") {
                None => (part, Some(1)),
                Some((tasks, nodes)) => (tasks, nodes.strip_suffix(')').and_then(|nodes| nodes.parse().ok())),
            };
            let (tasks, nodes): (usize, usize) = tasks.parse().ok().zip(nodes).ok_or_else(malformed)?;
            if node < nodes {
                return Ok(Some(tasks));
            }
            node -= nodes;
        }
        Err(malformed())
    }

    fn torchrun(&self) -> Result<Launch, DistributedError> {
        let names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"];
        let launch = self.launch(Launcher::Torchrun, names.each_ref().map(std::slice::from_ref))?;
        if !self.has("MASTER_ADDR") {
            return Err(error("MASTER_ADDR", "the host of rank 0, as torchrun sets it", None));
        }
        let port = self.number("MASTER_PORT")?;
        if u16::try_from(port).is_err() {
            return Err(error("MASTER_PORT", "a port, at most 65535", Some(&port.to_string())));
        }
        Ok(launch)
    }

    /// The first variable of `names` that is set, and its number.
    fn first_of<'n>(&self, names: &'n [&'n str]) -> Result<(&'n str, usize), DistributedError> {
        let name = names.iter().find(|name| self.has(name)).unwrap_or(&names[0]);
        Ok((name, self.number(name)?))
    }

    fn number(&self, name: &str) -> Result<usize, DistributedError> {
        let value = (self.0)(name);
        let number = value.as_deref().and_then(|value| value.trim().parse().ok());
        number.ok_or_else(|| error(name, "a whole number", value.as_deref()))
    }
}

impl Launch {
    /// This launch if its numbers fit together; `names` are the variables of rank, size, local rank and local size.
    fn checked(self, names: [&str; 4]) -> Result<Self, DistributedError> {
        let at_least_one = |name: &str, found: usize, most: usize| match found {
            0 => Err(error(name, "at least 1", Some("0"))),
            _ if found > most => Err(error(name, &format!("at most {most}"), Some(&found.to_string()))),
            _ => Ok(()),
        };
        let below = |name: &str, found: usize, limit_name: &str, limit: usize| {
            let expected = || format!("a number below {limit_name}, which is {limit}");
            if found < limit { Ok(()) } else { Err(error(name, &expected(), Some(&found.to_string()))) }
        };
        at_least_one(names[1], self.size, i32::MAX as usize)?;
        at_least_one(names[3], self.local_size, self.size)?;
        below(names[0], self.rank, names[1], self.size)?;
        below(names[2], self.local_rank, names[3], self.local_size)?;
        Ok(self)
    }
}

fn error(variable: &str, expected: &str, found: Option<&str>) -> DistributedError {
    let found = found.map_or("nothing".into(), |found| format!("\"{found}\""));
    DistributedError::Variable { variable: variable.into(), expected: expected.into(), found }
}
