//! Asks a person at a terminal what a verb has to know before it can be answered.
//!
//! Questions come with the error of the verb, and the verb alone judges the answers: what does not do is asked again with the
//! reason. Where nobody is at a terminal, or JSON is wanted, nothing is asked, and the error names what is missing.

use std::io::{BufRead, IsTerminal, Write};

use hypermesh_abi::records::Question;
use hypermesh_abi::{Code, Error, Fault};
use serde_json::Value as Json;

use super::output::{Output, plain};

/// How many times one command asks before it gives up.
pub(crate) const ROUNDS_MAX: usize = 20;

/// Tells whether the questions of an error can be put to somebody.
pub(crate) fn can_ask(error: &Error, output: &Output) -> bool {
    !error.detail.questions.is_empty() && is_somebody_there(output)
}

/// Asks whether to go on with what takes something away; where nobody is at a terminal, or JSON is wanted, it goes on.
///
/// # Errors
/// `CANCELLED`, unless the answer is yes.
pub(crate) fn may_go_on(what: &str, output: &Output) -> Result<(), Error> {
    if !is_somebody_there(output) || goes_on(what, &mut std::io::stdin().lock(), &mut std::io::stderr().lock()) {
        return Ok(());
    }
    Err(Error::new(Code::CANCELLED, "nothing was done").fault(Fault::INPUT).help("`--yes` does it without asking"))
}

fn is_somebody_there(output: &Output) -> bool {
    !output.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn goes_on(what: &str, input: &mut impl BufRead, out: &mut impl Write) -> bool {
    let mut line = String::new();
    let asked = write!(out, "{} [y/N]: ", plain(what)).and_then(|()| out.flush());
    asked.and_then(|()| input.read_line(&mut line)).is_ok()
        && ["y", "yes"].contains(&line.trim().to_lowercase().as_str())
}

/// Asks on the terminal of this process; nothing if its input ends before everything is answered.
pub(crate) fn on_terminal(questions: &[Question]) -> Option<Vec<String>> {
    ask(questions, &mut std::io::stdin().lock(), &mut std::io::stderr().lock())
}

fn ask(questions: &[Question], input: &mut impl BufRead, out: &mut impl Write) -> Option<Vec<String>> {
    let answer = |question: &Question| {
        let default = question.schema.get("default").filter(|default| !default.is_null()).map(text);
        let mut prompt = String::new();
        if let Some(fault) = &question.fault {
            prompt.push_str(&format!("  {fault}\n"));
        }
        prompt.push_str(&words(question, default.as_deref()));
        loop {
            write!(out, "{}", plain(&prompt)).and_then(|()| out.flush()).ok()?;
            let mut line = String::new();
            if input.read_line(&mut line).ok()? == 0 {
                let _ = writeln!(out);
                return None;
            }
            match (line.trim(), &default) {
                ("", Some(default)) => return Some(default.clone()),
                ("", None) => {}
                (typed, _) => return Some(chosen(question, typed)),
            }
        }
    };
    questions.iter().map(answer).collect()
}

/// Puts a question into words: `region (where it runs; eu or us) [eu]: `.
fn words(question: &Question, default: Option<&str>) -> String {
    let name = question.name.as_deref().unwrap_or(&question.parameter);
    let choices = choices(question);
    let numbered = choices.len() > CHOICES_IN_LINE_MAX;
    let mut prompt = String::new();
    if numbered {
        let rows = choices.iter().enumerate().map(|(index, choice)| format!("  {:>2}  {choice}\n", index + 1));
        rows.for_each(|row| prompt.push_str(&row));
    }
    let expected = match question.schema["type"].as_str() {
        _ if numbered => format!("a number from 1 to {}, or the word", choices.len()),
        _ if !choices.is_empty() => choices.join(" or "),
        Some("boolean") => "yes or no".into(),
        Some("array") => "as a,b,c".into(),
        Some("object") => r#"as {"name": "value"}"#.into(),
        Some("number" | "integer") => "a number".into(),
        _ => String::new(),
    };
    let about: Vec<&str> = [question.about.as_str(), &expected].into_iter().filter(|part| !part.is_empty()).collect();
    prompt.push_str(name);
    if !about.is_empty() {
        prompt.push_str(&format!(" ({})", about.join("; ")));
    }
    if let Some(default) = default {
        prompt.push_str(&format!(" [{default}]"));
    }
    prompt + ": "
}

/// Takes a number for the choice that has it; a choice that is itself a number goes first.
fn chosen(question: &Question, typed: &str) -> String {
    let choices = choices(question);
    if choices.len() <= CHOICES_IN_LINE_MAX || choices.iter().any(|choice| choice == typed) {
        return typed.to_owned();
    }
    let by_number = typed.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?).cloned());
    by_number.unwrap_or_else(|| typed.to_owned())
}

fn choices(question: &Question) -> Vec<String> {
    question.schema["enum"].as_array().into_iter().flatten().map(text).collect()
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The most choices that stand in the line of a question; more are a list with numbers.
const CHOICES_IN_LINE_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Json, typed: &str, prompt: &str, answer: Option<&str>) {
        let about = "what for".to_owned();
        let question = Question { parameter: "param".into(), name: Some("x".into()), about, schema, fault: None };
        let mut out = Vec::new();
        let answers = ask(&[question], &mut typed.as_bytes(), &mut out);
        assert_eq!(answers.as_ref().map(|answers| answers[0].as_str()), answer);
        assert_eq!(String::from_utf8_lossy(&out), prompt);
    }

    #[test]
    fn answers_are_read_with_defaults_choices_and_the_end_of_input() {
        check(json!({"type": "string"}), "a b\n", "x (what for): ", Some("a b"));
        check(json!({"type": "number", "default": 3}), "\n", "x (what for; a number) [3]: ", Some("3"));
        check(json!({"type": "boolean"}), "\nyes\n", "x (what for; yes or no): x (what for; yes or no): ", Some("yes"));
        check(json!({"type": "string", "enum": ["eu", "us"]}), "us\n", "x (what for; eu or us): ", Some("us"));
        check(json!({"type": "string"}), "", "x (what for): \n", None);
        let list = "   1  a\n   2  b\n   3  c\n   4  d\n   5  9\nx (what for; a number from 1 to 5, or the word): ";
        let five = || json!({"type": "string", "enum": ["a", "b", "c", "d", "9"]});
        check(five(), "2\n", list, Some("b"));
        check(five(), "9\n", list, Some("9"));
        check(five(), "7\n", list, Some("7"));
    }

    #[test]
    fn only_yes_goes_on() {
        for (typed, goes) in
            [("y\n", true), ("YES\n", true), (" yes \n", true), ("\n", false), ("no\n", false), ("", false)]
        {
            let mut out = Vec::new();
            assert_eq!(goes_on("remove `x`?", &mut typed.as_bytes(), &mut out), goes, "{typed:?}");
            assert_eq!(String::from_utf8_lossy(&out), "remove `x`? [y/N]: ");
        }
    }

    #[test]
    fn a_question_steers_no_terminal_and_a_fault_goes_in_front() {
        let question = Question {
            parameter: "template".into(),
            about: "\u{1b}[2Jno".into(),
            fault: Some("`y` is too long".into()),
            schema: json!({"type": "string"}),
            ..Question::default()
        };
        let mut out = Vec::new();
        assert_eq!(ask(&[question], &mut "z\n".as_bytes(), &mut out), Some(vec!["z".to_owned()]));
        assert_eq!(String::from_utf8_lossy(&out), "  `y` is too long\ntemplate (\u{fffd}[2Jno): ");
    }
}
