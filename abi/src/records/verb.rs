//! The request table: what an extension can be asked, described well enough for a host to make a command line of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One verb of an extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verb {
    /// Its name; words separated by a space make subcommands (`index import`).
    pub name: String,
    /// One line for a list of verbs.
    pub summary: String,
    /// More, for the verb's own help.
    pub description: String,
    /// A JSON Schema of an object. A property's `x-cli` says how a command line takes it; see [`Positional`].
    pub parameters: Json,
    /// Shown in help, and tried by tests.
    pub examples: Vec<Example>,
    /// It reports progress.
    pub streaming: bool,
    /// It takes something away, or ends it: who types it at a terminal is asked first, and a console shows it as such.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub takes_away: bool,
    /// Where a console of the host uses it; a verb without any is for command lines alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub panels: Vec<Panel>,
}

/// How a console uses a verb.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Panel {
    /// What the console does with it, of the roles that `docs/abi.md` lists with the data that each answers, such as
    /// `executions` or `package-action`. A console passes over those it does not know.
    pub role: String,
    /// The parameter that takes what the panel is about, such as the name of a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Parameters that are the same each time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Json>,
}

/// An example of a verb, as typed after the extension's name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Example {
    /// What it shows.
    pub about: String,
    /// The words, such as `install ray-tracer`.
    pub command: String,
}

/// What `x-cli` may say of a property.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Positional {
    /// Place among the positional arguments, from 1; absent for an option.
    pub position: Option<usize>,
    /// One-letter form of an option.
    pub short: Option<char>,
    /// What stands for the value in help, such as `PKG`.
    pub value: Option<String>,
    /// The value is a path of the caller's file system; the host makes it absolute.
    pub path: bool,
    /// The value is a path if it begins with a dot or a slash, and a name otherwise. A host may ask again with the path of a
    /// directory if nothing has that name.
    pub maybe_path: bool,
    /// The value is JSON text where that parses, and a string where it does not.
    pub json: bool,
    /// A value `@FILE` stands for the JSON in a file of the caller's file system, which the host reads. What cannot be read
    /// stays as it is.
    pub file: bool,
    /// Where the parameter of this name is given and this one is not, what comes into the command by a pipe is its value.
    pub piped_with: Option<String>,
}

impl Verb {
    /// Describes a verb whose parameters are the fields of `P`.
    pub fn new<P: schemars::JsonSchema>(name: &str, summary: &str) -> Self {
        let parameters = schemars::schema_for!(P).to_value();
        Self { name: name.into(), summary: summary.into(), parameters, ..Self::default() }
    }

    /// Adds the longer text.
    #[must_use]
    pub fn description(mut self, description: &str) -> Self {
        self.description = description.into();
        self
    }

    /// Adds an example.
    #[must_use]
    pub fn example(mut self, command: &str, about: &str) -> Self {
        self.examples.push(Example { about: about.into(), command: command.into() });
        self
    }

    /// Says that the verb reports progress.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// Says that the verb takes something away, or ends it.
    #[must_use]
    pub fn taking_away(mut self) -> Self {
        self.takes_away = true;
        self
    }

    /// Lets consoles use the verb.
    #[must_use]
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }
}

impl Panel {
    /// Makes a panel that is about nothing in particular.
    pub fn new(role: &str) -> Self {
        Self { role: role.into(), ..Self::default() }
    }

    /// Names the parameter that takes what the panel is about.
    #[must_use]
    pub fn about(mut self, parameter: &str) -> Self {
        self.subject = Some(parameter.into());
        self
    }

    /// Gives a parameter each time.
    #[must_use]
    pub fn with(mut self, parameter: &str, value: impl Into<Json>) -> Self {
        self.with.insert(parameter.into(), value.into());
        self
    }
}
