//! Licence, privacy and export.

use spdx::Expression;

use crate::package::model::Package;

use super::lexer::Kind;
use super::{Analyser, Findings, Level, Rule, Source};

const NO_LICENCE: Rule = Rule::new(
    Analyser::Compliance,
    "NO_LICENCE",
    Level::Medium,
    "set `metadata.license`, such as `MIT`: without one nobody may use it",
);
const LICENCE: Rule = Rule::new(
    Analyser::Compliance,
    "LICENCE_NOT_LISTED",
    Level::Medium,
    "use MIT, Apache-2.0 or BSD-3-Clause, or have the licence allowed by policy",
);
const MAIL: Rule =
    Rule::new(Analyser::Compliance, "PERSONAL_DATA", Level::Low, "keep addresses of people out of sources");
const CRYPTOGRAPHY: Rule = Rule::new(
    Analyser::Compliance,
    "CRYPTOGRAPHY",
    Level::Info,
    "exporting cryptography is regulated in some countries; say so in the description",
);

/// The licences that need no question.
const LICENCES: [&str; 3] = ["MIT", "Apache-2.0", "BSD-3-Clause"];
/// Names that show a cipher or signature at work.
const CIPHERS: [&str; 8] = ["aes", "chacha20", "rsa", "ed25519", "encrypt", "decrypt", "falcon1024", "ecdsa"];

pub(super) fn analyse(package: &Package, sources: &[Source<'_>], findings: &mut Findings) {
    match package.about.license.as_deref().map(str::trim) {
        None | Some("") => findings.add(&NO_LICENCE, None, 0, "the package has no licence"),
        Some(licence) if !is_listed(licence) => {
            findings.add(&LICENCE, None, 0, format!("the licence `{licence}` is not in the list"));
        }
        Some(_) => {}
    }
    for source in sources {
        for token in &source.tokens {
            let file = Some(source.path);
            if token.kind == Kind::Text && token.text.split_whitespace().any(is_mail) {
                findings.add(&MAIL, file, token.line, "an address of a person");
            }
            let name = token.text.to_ascii_lowercase();
            if token.kind == Kind::Word && name.split('_').any(|part| CIPHERS.contains(&part)) {
                findings.add(&CRYPTOGRAPHY, file, token.line, format!("`{}` looks like cryptography", token.text));
            }
        }
    }
}

/// Gives whether an SPDX expression can be met with listed licences: one of every `OR`, all of every `AND`. An expression
/// that does not read is not met.
fn is_listed(expression: &str) -> bool {
    Expression::parse(expression).is_ok_and(|expression| {
        expression.evaluate(|part| part.license.id().is_some_and(|licence| LICENCES.contains(&licence.name)))
    })
}

fn is_mail(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.split_once('@').is_some_and(|(name, host)| {
        let is_host = host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        !name.is_empty() && is_host && !host.ends_with("example.org") && !host.ends_with("example.com")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;
    use super::super::{Options, Profile, analyse};
    use super::*;
    use crate::package::{Format, parse};

    #[test]
    fn licences_are_weighed_as_expressions() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "(MIT AND Apache-2.0)",
            "GPL-2.0-only OR (MIT AND BSD-3-Clause)",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_listed(good), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "mit", "MIT OR", "(MIT", "MIT MIT", "MIT)", ""] {
            assert!(!is_listed(bad), "{bad}");
        }
    }

    #[test]
    fn the_licence_of_a_package_is_looked_at() {
        let found = |licence: &str| {
            let text = format!(
                "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0{licence}}}\nspec: {{type: custom, content: {{main: a}}}}"
            );
            let package = parse(&text, Format::Yaml, "p").expect("is valid").0;
            let options = Options { profile: Profile::Standard, syntax: None, module: None, dependency_depth: None };
            analyse(&package, &[], &options).findings.iter().map(|finding| finding.code).collect::<Vec<_>>()
        };
        assert_eq!(found(""), ["NO_LICENCE"]);
        assert_eq!(found(", license: GPL-3.0-only"), ["LICENCE_NOT_LISTED"]);
        assert!(found(", license: MIT").is_empty());
    }

    #[test]
    fn addresses_and_cryptography_are_seen_in_code_only() {
        let of = |text: &str| codes(Analyser::Compliance, "a.lua", text);
        assert_eq!(of("local a = 'write to jo@mail.net, please'"), [("PERSONAL_DATA", 1)]);
        assert_eq!(of("local aes_key = encrypt(x)"), [("CRYPTOGRAPHY", 1)]);
        assert_eq!(of("-- jo@mail.net, encrypt\nlocal a = 'jo@example.org a@b'\nlocal laes = 1"), []);
    }
}
