//! The states of an extension and of the host's side of it, with the legal transitions and no others.
//!
//! Nothing here acts: callers ask [`Lifecycle::advance`] first and act when it is Ok, so an illegal order of calls is an
//! error and never a half-done step.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state an extension reports of itself; the names are HyperMesh's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtensionState {
    /// It is being set up.
    Initializing,
    /// It serves requests.
    Running,
    /// It keeps its state and serves nothing.
    Paused,
    /// It finishes what it began and takes nothing new.
    ShuttingDown,
    /// It is done; this state has no way out but an error.
    Stopped,
    /// It failed, for this reason. A failed extension is unloaded; its next generation begins anew.
    Error(String),
}

/// The host's side of an extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostState {
    /// Known and not loaded.
    Registered,
    /// Being verified, opened and initialised.
    Loading,
    /// Serves requests.
    Active,
    /// Loaded and suspended.
    Paused,
    /// Being drained and stopped.
    Unloading,
    /// Could not go on, for this reason; it may be loaded again or cleaned away.
    Failed(String),
}

/// A set of states with legal transitions.
pub trait State: Clone + PartialEq + fmt::Display {
    /// Says whether this state may become that one.
    fn may_become(&self, next: &Self) -> bool;
}

/// A state that only moves along legal transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle<S> {
    state: S,
}

/// A transition that the states do not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot go from `{from}` to `{to}`")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: String,
    /// The state that was asked for.
    pub to: String,
}

impl Lifecycle<ExtensionState> {
    /// Begins at [`ExtensionState::Initializing`].
    pub fn of_extension() -> Self {
        Self { state: ExtensionState::Initializing }
    }
}

impl Lifecycle<HostState> {
    /// Begins at [`HostState::Registered`].
    pub fn of_host() -> Self {
        Self { state: HostState::Registered }
    }
}

impl<S: State> Lifecycle<S> {
    /// Moves on and gives the state that was left.
    ///
    /// # Errors
    /// The transition is not legal; the state stays as it is.
    pub fn advance(&mut self, next: S) -> Result<S, IllegalTransition> {
        if !self.state.may_become(&next) {
            return Err(IllegalTransition { from: self.state.to_string(), to: next.to_string() });
        }
        Ok(std::mem::replace(&mut self.state, next))
    }

    /// Gives the state.
    pub fn state(&self) -> &S {
        &self.state
    }
}

impl State for ExtensionState {
    fn may_become(&self, next: &Self) -> bool {
        use ExtensionState::{Error, Initializing, Paused, Running, ShuttingDown, Stopped};
        matches!(
            (self, next),
            (Initializing, Running)
                | (Running, Paused | ShuttingDown)
                | (Paused, Running | ShuttingDown)
                | (ShuttingDown, Stopped)
                | (_, Error(_))
        )
    }
}

impl State for HostState {
    fn may_become(&self, next: &Self) -> bool {
        use HostState::{Active, Failed, Loading, Paused, Registered, Unloading};
        matches!(
            (self, next),
            (Registered, Loading)
                | (Loading, Active)
                | (Active, Paused | Unloading)
                | (Paused, Active | Unloading)
                | (Unloading, Registered)
                | (Failed(_), Loading | Unloading)
                | (_, Failed(_))
        )
    }
}

impl fmt::Display for ExtensionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initializing => f.write_str("Initializing"),
            Self::Running => f.write_str("Running"),
            Self::Paused => f.write_str("Paused"),
            Self::ShuttingDown => f.write_str("ShuttingDown"),
            Self::Stopped => f.write_str("Stopped"),
            Self::Error(reason) => write!(f, "Error({reason})"),
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered => f.write_str("Registered"),
            Self::Loading => f.write_str("Loading"),
            Self::Active => f.write_str("Active"),
            Self::Paused => f.write_str("Paused"),
            Self::Unloading => f.write_str("Unloading"),
            Self::Failed(reason) => write!(f, "Failed({reason})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the table of transitions: a row per state, `x` where the state of the column may follow.
    fn table<S: State>(states: &[S]) -> String {
        states
            .iter()
            .map(|from| {
                let row: String = states.iter().map(|to| if from.may_become(to) { 'x' } else { '.' }).collect();
                format!("{row} {from}\n")
            })
            .collect()
    }

    #[test]
    fn extension_states_have_these_transitions_and_no_others() {
        use ExtensionState::{Error, Initializing, Paused, Running, ShuttingDown, Stopped};
        let states = [Initializing, Running, Paused, ShuttingDown, Stopped, Error("x".to_owned())];
        insta::assert_snapshot!(table(&states), @"
        .x...x Initializing
        ..xx.x Running
        .x.x.x Paused
        ....xx ShuttingDown
        .....x Stopped
        .....x Error(x)
        ");
    }

    #[test]
    fn host_states_have_these_transitions_and_no_others() {
        use HostState::{Active, Failed, Loading, Paused, Registered, Unloading};
        let states = [Registered, Loading, Active, Paused, Unloading, Failed("x".to_owned())];
        insta::assert_snapshot!(table(&states), @"
        .x...x Registered
        ..x..x Loading
        ...xxx Active
        ..x.xx Paused
        x....x Unloading
        .x..xx Failed(x)
        ");
    }

    #[test]
    fn an_illegal_transition_names_both_states_and_changes_nothing() {
        let mut lifecycle = Lifecycle::of_extension();
        let error = lifecycle.advance(ExtensionState::Paused).expect_err("illegal");
        assert_eq!(error.to_string(), "cannot go from `Initializing` to `Paused`");
        assert_eq!(lifecycle.state(), &ExtensionState::Initializing);
        assert_eq!(lifecycle.advance(ExtensionState::Running), Ok(ExtensionState::Initializing));
        assert_eq!(lifecycle.advance(ExtensionState::Error("disk full".to_owned())), Ok(ExtensionState::Running));
        assert!(Lifecycle::of_host().advance(HostState::Active).is_err());
    }
}
