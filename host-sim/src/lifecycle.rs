//! The states of an extension, with HyperMesh's legal transitions and no others.
//!
//! Nothing here acts: callers ask first and act when the answer is Ok, so an illegal order of calls is an error and never
//! a half-done step.

use hypermesh_abi::records::ExtensionState;

/// A state that only moves along legal transitions; begins at [`ExtensionState::Initializing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    state: ExtensionState,
}

/// A transition that the states do not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an extension cannot go from `{from}` to `{to}`")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: String,
    /// The state that was asked for.
    pub to: String,
}

impl Lifecycle {
    /// Moves on and gives the state that was left.
    ///
    /// # Errors
    /// The transition is not legal; the state stays as it is.
    pub fn advance(&mut self, next: ExtensionState) -> Result<ExtensionState, IllegalTransition> {
        self.check(&next)?;
        Ok(std::mem::replace(&mut self.state, next))
    }

    /// Says whether a transition is legal.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, next: &ExtensionState) -> Result<(), IllegalTransition> {
        use ExtensionState::{Error, Initializing, Paused, Running, ShuttingDown, Stopped};
        match (&self.state, next) {
            (Initializing, Running)
            | (Running, Paused | ShuttingDown)
            | (Paused, Running | ShuttingDown)
            | (ShuttingDown, Stopped)
            | (_, Error(_)) => Ok(()),
            (from, to) => Err(IllegalTransition { from: name(from), to: name(to) }),
        }
    }

    /// Gives the state.
    pub fn state(&self) -> &ExtensionState {
        &self.state
    }
}

/// Gives the name of a state, with the reason of an error.
pub fn name(state: &ExtensionState) -> String {
    match state {
        ExtensionState::Error(reason) => format!("Error({reason})"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_states_have_these_transitions_and_no_others() {
        use ExtensionState::{Error, Initializing, Paused, Running, ShuttingDown, Stopped};
        let states = [Initializing, Running, Paused, ShuttingDown, Stopped, Error("x".to_owned())];
        let legal = |from: &ExtensionState, to| Lifecycle { state: from.clone() }.check(to).is_ok();
        let row = |from| states.iter().map(|to| if legal(from, to) { 'x' } else { '.' }).collect::<String>();
        let table: String = states.iter().map(|from| format!("{} {}\n", row(from), name(from))).collect();
        insta::assert_snapshot!(table, @"
        .x...x Initializing
        ..xx.x Running
        .x.x.x Paused
        ....xx ShuttingDown
        .....x Stopped
        .....x Error(x)
        ");
    }

    #[test]
    fn an_illegal_transition_names_both_states_and_changes_nothing() {
        let mut lifecycle = Lifecycle::default();
        let error = lifecycle.advance(ExtensionState::Paused).expect_err("illegal");
        assert_eq!(error.to_string(), "an extension cannot go from `Initializing` to `Paused`");
        assert_eq!(lifecycle.state(), &ExtensionState::Initializing);
        assert_eq!(lifecycle.advance(ExtensionState::Running), Ok(ExtensionState::Initializing));
        assert_eq!(lifecycle.advance(ExtensionState::Error("disk full".to_owned())), Ok(ExtensionState::Running));
    }
}
