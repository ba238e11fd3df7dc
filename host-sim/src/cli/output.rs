//! What a person and what a program sees: text, one JSON object, progress, errors with their place, exit codes.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use hypermesh_abi::records::{ErrorRecord, InputFault, Progress};
use hypermesh_abi::{Error, Fault};
use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource, Severity, SourceCode};
use serde_json::{Value as Json, json};

use super::arguments::Options;

/// Where answers go.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    bar: Mutex<Option<Bar>>,
}

/// What is shown of something long, and in what it is counted.
struct Bar {
    shown: ProgressBar,
    unit: String,
}

/// The unit of progress that is what a program printed.
const OUTPUT_UNIT: &str = "output";
/// The unit of progress that is shown as sizes.
const BYTES_UNIT: &str = "bytes";
/// How long something takes before it is said how long it will go on.
const LONG: Duration = Duration::from_secs(1);
/// The widest text for people: longer lines are hard to read; and the narrowest, below which words would be torn.
const WIDTH_MAX: usize = 100;
const WIDTH_MIN: usize = 24;
/// The exit code of wrong usage.
const USAGE: u8 = 2;
/// The name of the error for a word that is no command.
pub(crate) const UNKNOWN_COMMAND: &str = "UNKNOWN_COMMAND";

impl Output {
    pub(crate) fn new(options: &Options) -> Self {
        Self { json: options.json, quiet: options.quiet, bar: Mutex::default() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the text of an answer, or its data as JSON with `"ok": true`.
    pub(crate) fn answer(&self, text: &str, data: Json) -> ExitCode {
        self.finish_progress();
        if self.json {
            let mut object = serde_json::Map::from_iter([("ok".to_owned(), Json::Bool(true))]);
            match data {
                Json::Object(fields) => object.extend(fields),
                Json::Null => {}
                other => {
                    object.insert("value".into(), other);
                }
            }
            print(&format!("{}\n", Json::Object(object)));
        } else {
            print(&plain(text));
        }
        ExitCode::SUCCESS
    }

    /// Prints an object as it is, for answers that are no success and no error either.
    pub(crate) fn answer_raw(&self, object: &Json) {
        self.finish_progress();
        print(&format!("{object}\n"));
    }

    /// Prints lines as they come; nothing where only JSON is wanted.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            print(&format!("{text}\n"));
        }
    }

    /// Prints an error and gives the exit code of its kind.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        self.finish_progress();
        if self.json {
            print(&format!("{}\n", failure(error)));
        } else {
            print(error.detail.answer.as_ref().map_or("", |answer| answer.text.as_str()));
            let mut text = String::new();
            let handler = if std::io::stderr().is_terminal() {
                GraphicalReportHandler::new()
            } else {
                GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
            };
            if handler.with_width(width()).render_report(&mut text, &Report::of(error)).is_err() {
                text = error.to_string();
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(exit_code(error))
    }

    /// Shows how far a call has come: a bar on a terminal, nothing elsewhere. What a program printed is shown anywhere.
    pub(crate) fn progress(&self, progress: &Progress) {
        if progress.unit == OUTPUT_UNIT {
            self.finish_progress();
            let _ = std::io::stderr().write_all(plain(&progress.message).as_bytes());
            return;
        }
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let mut bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            let shown = ProgressBar::new(0);
            shown.enable_steady_tick(Duration::from_millis(80));
            Bar { shown, unit: String::new() }
        });
        if bar.unit != progress.unit {
            bar.unit.clone_from(&progress.unit);
            let in_bytes = progress.unit == BYTES_UNIT;
            let style = ProgressStyle::with_template("{spinner} {prefix:<9} {wide_msg} {far}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let far = move |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = out.write_str(&far(&Reached::of(state), in_bytes));
            };
            bar.shown.set_style(style.with_key("far", far));
        }
        bar.shown.set_prefix(progress.stage.clone());
        bar.shown.set_message(progress.message.clone());
        bar.shown.set_length(progress.total.max(progress.done));
        bar.shown.set_position(progress.done);
    }

    pub(crate) fn finish_progress(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            bar.shown.finish_and_clear();
        }
    }
}

/// How far something has come.
struct Reached {
    done: u64,
    total: u64,
    elapsed: Duration,
    in_a_second: f64,
    left: Duration,
}

impl Reached {
    fn of(state: &ProgressState) -> Self {
        Self {
            done: state.pos(),
            total: state.len().unwrap_or(0),
            elapsed: state.elapsed(),
            in_a_second: state.per_sec(),
            left: state.eta(),
        }
    }
}

/// Says how far something has come, and of what takes long also how fast that goes and how long it will go on.
fn far(reached: &Reached, in_bytes: bool) -> String {
    let Reached { done, total, elapsed, in_a_second, left } = *reached;
    let amount = |count: u64| if in_bytes { BinaryBytes(count).to_string() } else { count.to_string() };
    let mut text = if total == 0 { amount(done) } else { format!("{}/{}", amount(done), amount(total)) };
    if elapsed < LONG || done == 0 || done >= total || in_a_second <= 0.0 {
        return text;
    }
    if in_bytes {
        text += &format!(", {}/s", amount(in_a_second as u64));
    } else {
        text += &format!(", {in_a_second:.1}/s");
    }
    text + &format!(", {:#} left", HumanDuration(left))
}

/// How wide what is printed for people may be, in columns.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { WIDTH_MAX } else { columns.clamp(WIDTH_MIN, WIDTH_MAX) }
}

/// Prints what clap says and gives the exit code: help and version are no errors.
pub(crate) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let is_error = error.use_stderr();
    if json {
        let text = error.render().to_string();
        let object = if is_error {
            let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            json!({"ok": false, "error": {"code": "USAGE", "fault": "input", "message": message, "help": text}})
        } else {
            json!({"ok": true, "text": text})
        };
        print(&format!("{object}\n"));
    } else {
        let _ = error.print();
    }
    if is_error { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// Gives an error as JSON, with what the verb found in full beside it, where a success would have it.
fn failure(error: &Error) -> Json {
    let mut object = serde_json::Map::from_iter([("ok".to_owned(), Json::Bool(false))]);
    if let Some(Json::Object(fields)) = error.detail.answer.as_ref().map(|answer| answer.data.clone()) {
        object.extend(fields.into_iter().filter(|(field, _)| field != "ok"));
    }
    object.insert("error".to_owned(), json!(ErrorRecord::from(error)));
    Json::Object(object)
}

/// Gives a text without what a terminal would obey: whatever an extension answers may quote what comes from anybody.
pub(crate) fn plain(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// Prints to standard output.
pub(crate) fn print(text: &str) {
    // A closed pipe (`| head`) is the reader's choice and no error.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}

fn exit_code(error: &Error) -> u8 {
    // A program that was run for the caller ended by itself: its status is the caller's answer.
    let status = error.detail.answer.as_ref().and_then(|answer| answer.data["exit_status"].as_i64());
    if let Some(status) = status.filter(|status| *status != 0) {
        // What no process can end with is cut as a process's own status is, and is never a success.
        return (status as u8).max(1);
    }
    match error.fault {
        // No such command: what was typed is wrong, and not what it was about.
        Fault::INPUT if error.detail.name.as_deref() == Some(UNKNOWN_COMMAND) => USAGE,
        Fault::INPUT => 1,
        Fault::ENVIRONMENT => 3,
        Fault::PEER => 4,
        Fault::POLICY => 5,
        _ => 70,
    }
}

/// An error as miette renders it.
#[derive(Debug)]
struct Report {
    message: String,
    code: String,
    help: Option<String>,
    severity: Severity,
    place: Option<(NamedSource<String>, LabeledSpan)>,
    related: Vec<Report>,
}

impl Report {
    fn of(error: &Error) -> Self {
        let mut related: Vec<Self> = error.detail.faults.iter().map(Self::of_fault).collect();
        // One fault in what the caller gave says it all; a refusal has its reason in front.
        if related.len() == 1 && error.fault == Fault::INPUT {
            let fault = related.remove(0);
            let help = fault.help.into_iter().chain(error.detail.help.clone()).chain(error.chain.iter().cloned());
            let help = help.collect::<Vec<_>>().join("\n");
            return Self { help: (!help.is_empty()).then_some(help), ..fault };
        }
        let code = error.detail.name.clone().unwrap_or_else(|| error.code.name().to_owned());
        let (message, help) = (error.to_string(), error.detail.help.clone());
        Self { message, code, help, severity: Severity::Error, place: None, related }
    }

    fn of_fault(fault: &InputFault) -> Self {
        // A file of an installed package has no path, and one of that name may lie here by chance.
        let file = fault.file.as_ref().filter(|file| std::path::Path::new(file).is_absolute());
        let place = file.zip(fault.line).and_then(|(file, line)| {
            let text = std::fs::read_to_string(file).ok()?;
            let span = span(&text, line as usize, fault.column.map(|column| column as usize));
            Some((NamedSource::new(file, text), LabeledSpan::new_with_span(None, span)))
        });
        let field =
            fault.path.as_ref().filter(|path| !path.is_empty()).map_or(String::new(), |path| format!("`{path}`: "));
        let unseen = match (&place, &fault.file, fault.line) {
            (None, Some(file), Some(line)) => format!("{file}:{line}: "),
            (None, Some(file), None) => format!("{file}: "),
            _ => String::new(),
        };
        Self {
            message: format!("{unseen}{field}{}", fault.message),
            code: fault.code.clone(),
            help: fault.hint.clone(),
            severity: if fault.severity == "warning" { Severity::Warning } else { Severity::Error },
            place,
            related: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.place.as_ref().map(|(_, label)| Box::new(std::iter::once(label.clone())) as _)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.related.is_empty()).then(|| Box::new(self.related.iter().map(|report| report as &dyn Diagnostic)) as _)
    }
}

/// Finds the word at a line and column, both from 1; without a column, the whole line.
fn span(text: &str, line: usize, column: Option<usize>) -> (usize, usize) {
    let start_of_line: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let row = text[start_of_line.min(text.len())..].lines().next().unwrap_or_default();
    let Some(column) = column else {
        let indent = row.len() - row.trim_start().len();
        return (start_of_line + indent, row.trim().len());
    };
    let offset: usize = row.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let rest = &row[offset..];
    let end = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map(|end| end + 2),
        _ => [": ", ":\n", ",", "}", "]", " #"].iter().filter_map(|stop| rest.find(stop)).min(),
    };
    let word = rest[..end.unwrap_or(rest.len())].trim_end_matches([':', ' ']).len();
    (start_of_line + offset, word.max(usize::from(offset < row.len())))
}

#[cfg(test)]
mod tests {
    use hypermesh_abi::Code;

    use super::*;

    #[test]
    fn a_terminal_obeys_no_answer() {
        assert_eq!(plain("a\tb\n\u{1b}[2Jc\u{9b}d\u{202e}e\r"), "a\tb\n\u{fffd}[2Jc\u{fffd}d\u{fffd}e\u{fffd}");
        assert_eq!(plain("Größe → ★"), "Größe → ★");
    }

    #[test]
    fn what_takes_long_says_how_fast_it_goes_and_for_how_long_yet() {
        let reached = |done, total, seconds, in_a_second, left| Reached {
            done,
            total,
            elapsed: Duration::from_secs_f64(seconds),
            in_a_second,
            left: Duration::from_secs_f64(left),
        };
        assert_eq!(far(&reached(3, 20, 0.5, 6.0, 2.8), false), "3/20");
        assert_eq!(far(&reached(3, 20, 1.5, 2.0, 8.5), false), "3/20, 2.0/s, 9s left");
        assert_eq!(
            far(&reached(1 << 20, 64 << 20, 2.0, 524_288.0, 126.0), true),
            "1.00 MiB/64.00 MiB, 512.00 KiB/s, 2m left"
        );
        assert_eq!(far(&reached(20, 20, 9.0, 2.0, 0.0), false), "20/20");
        assert_eq!(far(&reached(0, 20, 9.0, 0.0, 0.0), false), "0/20");
        assert_eq!(far(&reached(5, 0, 9.0, 1.0, 0.0), false), "5");
    }

    #[test]
    fn a_place_becomes_the_word_that_stands_there() {
        let text = "a: 1\nnäme: wrong value # why\nx: [1, \"a, b\", c]\n  last\n";
        let at = |line, column| {
            let (start, length) = span(text, line, column);
            &text[start..start + length]
        };
        assert_eq!(
            [at(2, Some(7)), at(2, Some(1)), at(3, Some(8)), at(3, Some(16))],
            ["wrong value", "näme", "\"a, b\"", "c"]
        );
        assert_eq!(at(4, None), "last");
        assert_eq!(span(text, 99, Some(99)), (text.len(), 0));
    }

    #[test]
    fn one_fault_of_the_input_stands_alone_and_a_refusal_keeps_its_reason() {
        let fault = |message: &str| InputFault { code: "X".into(), message: message.into(), ..InputFault::default() };
        let mut error = Error::new(Code::INVALID_ARGUMENT, "two faults").help("mend them");
        error.detail.faults = vec![fault("first")];
        let report = Report::of(&error);
        assert_eq!(
            (report.message.as_str(), report.help.as_deref(), report.related.len()),
            ("first", Some("mend them"), 0)
        );
        error.detail.faults.push(fault("second"));
        assert_eq!((Report::of(&error).message.as_str(), Report::of(&error).related.len()), ("two faults", 2));
        error.detail.faults.truncate(1);
        error.fault = Fault::POLICY;
        assert_eq!((Report::of(&error).message.as_str(), Report::of(&error).related.len()), ("two faults", 1));
    }

    #[test]
    fn what_a_refused_verb_found_stands_where_a_success_would_have_it() {
        let mut error = Error::new(Code::DEPENDENCY_RESOLUTION_FAILED, "nothing fits");
        let data = json!({"ok": true, "error": 1, "explanation": "a and b"});
        error.detail.answer = Some(hypermesh_abi::records::Response { data, text: String::new() });
        let object = failure(&error);
        assert_eq!((&object["ok"], &object["explanation"]), (&json!(false), &json!("a and b")));
        assert_eq!(object["error"]["message"], "nothing fits");
    }

    #[test]
    fn every_kind_of_fault_has_its_exit_code() {
        let code = |fault| exit_code(&Error::new(Code::INTERNAL, "x").fault(fault));
        let faults = [Fault::INPUT, Fault::ENVIRONMENT, Fault::PEER, Fault::POLICY, Fault::BUG, Fault(99)];
        assert_eq!(faults.map(code), [1, 3, 4, 5, 70, 70]);
        let mut unknown = Error::new(Code::NOT_FOUND, "x");
        unknown.detail.name = Some(UNKNOWN_COMMAND.into());
        assert_eq!(exit_code(&unknown), 2);
    }
}
