//! `sandbox selftest`: tries on this machine what keeps programs in; and how much of it a package needs.

use super::{Catalog, OpError};
use crate::config::LeastSandbox;
use crate::package::model::SandboxLevel;
use crate::vm::escape::{self, Case, Report, Trial};
use crate::vm::{Barrier, Grade, Language, VmError};

/// What to try.
#[derive(Clone, Debug, Default)]
pub struct Selftest {
    /// Only these attacks; all if it is empty.
    pub names: Vec<String>,
    /// What is left out of the sandbox.
    pub without: Vec<Barrier>,
}

impl Catalog {
    /// Gives the attacks that are shipped.
    pub fn attacks(&self) -> Vec<Case> {
        escape::all()
    }

    /// Attacks the sandbox.
    ///
    /// # Errors
    /// A name that no attack has; no worker program; a sandbox that is refused here.
    pub async fn selftest(&self, selftest: Selftest) -> Result<Report, OpError> {
        let known = escape::all();
        if let Some(name) = selftest.names.iter().find(|name| !known.iter().any(|case| case.name == **name)) {
            return Err(OpError::NoAttack { name: name.clone() });
        }
        let own = self.engines.as_ref();
        let own = own.map_err(|looked| OpError::Vm(VmError::WorkerMissing { looked: looked.clone() }))?;
        let mut engines = Vec::new();
        for language in [Language::Julia, Language::Wasm] {
            match own.engine(language).await {
                Ok(engine) => engines.push((language, engine)),
                Err(VmError::NoRuntime { .. } | VmError::NotBuilt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let trial =
            Trial { worker: own.worker_program().clone(), without: selftest.without, engines, names: selftest.names };
        Ok(escape::attempt(&trial).await?)
    }
}

/// Gives the least grade of the sandbox that a package may run in, by what it asks for and what the node accepts.
///
/// `minimal` and `standard` let a package be content with one lock on each door. `strict` says that nothing is open, which
/// one lock alone does not show; and `paranoid` asks for more than any worker has, so it is refused before.
pub(super) fn least_grade(level: SandboxLevel, node: LeastSandbox) -> Grade {
    if level >= SandboxLevel::Strict || node == LeastSandbox::Full { Grade::Full } else { Grade::Degraded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_and_node_say_how_much_sandbox_is_needed() {
        use SandboxLevel::{Minimal, Paranoid, Standard, Strict};
        for (level, least) in
            [(Minimal, Grade::Degraded), (Standard, Grade::Degraded), (Strict, Grade::Full), (Paranoid, Grade::Full)]
        {
            assert_eq!(least_grade(level, LeastSandbox::Degraded), least, "{level:?}");
            assert_eq!(least_grade(level, LeastSandbox::Full), Grade::Full, "{level:?}");
        }
    }
}
