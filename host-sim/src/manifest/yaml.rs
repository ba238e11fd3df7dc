//! A first pass over YAML that only looks at its events: bounds, refused constructs, repeated keys, and where each value is.
//!
//! It runs before anything is built from the text, so an alias bomb costs a scan of its bytes and no more.

use saphyr_parser::{Event, Marker, Parser, Span};

use super::fault::{Fault, FaultCode};
use super::{BYTES_MAX, DEPTH_MAX, FAULTS_MAX, NODES_MAX};

/// A place in the text; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    place: Place,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Scalar,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    key_place: Place,
    value: Node,
}

impl Node {
    /// Finds a value, or the innermost value around it that exists. A path that ends in a key gives the place of the key.
    pub(super) fn place(&self, path: &[Step]) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in path {
            let next = match (step, &node.inner) {
                (Step::Key(name), Inner::Map(entries)) => {
                    entries.iter().find(|entry| entry.key == *name).map(|entry| (entry.key_place, &entry.value))
                }
                (Step::Index(index), Inner::List(nodes)) => nodes.get(*index).map(|node| (node.place, node)),
                _ => None,
            };
            let Some((at, inside)) = next else { break };
            (place, node) = (at, inside);
        }
        place
    }
}

/// Writes a path as people write it: `workers[0].path`.
pub(super) fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Reads the text's one document.
pub(super) fn scan(text: &str) -> Result<Node, Vec<Fault>> {
    let mut scanner = Scanner { open: Vec::new(), root: None, faults: Vec::new(), nodes: 0, documents: 0 };
    if text.len() > BYTES_MAX {
        let message = format!("the file has {} bytes, expected at most {BYTES_MAX}", text.len());
        return Err(vec![scanner.fault(FaultCode::TooLarge, START, message)]);
    }
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => scanner.event(event, span),
            Err(error) => Err(scanner.fault(FaultCode::Syntax, place(error.marker()), error.info().to_owned())),
        };
        if let Err(fault) = step {
            scanner.faults.push(fault);
            return Err(scanner.faults);
        }
    }
    if !scanner.faults.is_empty() {
        return Err(scanner.faults);
    }
    let empty = || Fault { hint: None, ..new_fault(FaultCode::Syntax, START, "the file is empty".to_owned()) };
    scanner.root.ok_or_else(|| vec![empty()])
}

const START: Place = Place { line: 1, column: 1 };

struct Scanner {
    /// The lists and maps that are not closed yet; a map's key waits beside it for its value.
    open: Vec<(Node, Option<(String, Place)>)>,
    root: Option<Node>,
    /// Faults that do not end the scan.
    faults: Vec<Fault>,
    nodes: usize,
    documents: usize,
}

impl Scanner {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = place(&span.start);
        match event {
            Event::Scalar(text, _, _, tag) => {
                self.check_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), at)?;
                self.scalar(&text, at)
            }
            Event::SequenceStart(_, tag) => {
                self.check_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), at)?;
                self.open(Node { place: at, inner: Inner::List(Vec::new()) })
            }
            Event::MappingStart(_, tag) => {
                self.check_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), at)?;
                self.open(Node { place: at, inner: Inner::Map(Vec::new()) })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((node, _)) => self.close(node),
                None => Ok(()),
            },
            Event::Alias(_) => {
                let hint = "write the value out where it is needed";
                Err(self.refuse(at, "aliases are not allowed, expected a plain value", hint))
            }
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let hint = "keep one manifest per file";
                    return Err(self.refuse(at, "a second document begins here, expected the end of the file", hint));
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, at: Place) -> Result<(), Fault> {
        self.count(at)?;
        let Some((Node { inner: Inner::Map(entries), .. }, key @ None)) = self.open.last_mut() else {
            return self.close(Node { place: at, inner: Inner::Scalar });
        };
        let first = entries.iter().find(|entry| entry.key == text).map(|entry| entry.key_place);
        *key = Some((text.to_owned(), at));
        if let Some(first) = first {
            let path = self.path();
            let message = format!("`{text}` is given twice, first in line {}", first.line);
            let fault = Fault { path, ..new_fault(FaultCode::DuplicateKey, at, message) };
            self.faults.push(Fault { hint: Some("keep one of the two".to_owned()), ..fault });
            if self.faults.len() >= FAULTS_MAX {
                return Err(self.fault(
                    FaultCode::TooLarge,
                    at,
                    format!("more than {FAULTS_MAX} faults, expected none"),
                ));
            }
        }
        Ok(())
    }

    fn open(&mut self, node: Node) -> Result<(), Fault> {
        let at = node.place;
        self.count(at)?;
        if let Some((Node { inner: Inner::Map(_), .. }, None)) = self.open.last() {
            return Err(self.refuse(at, "a list or map is used as a key, expected text", "write the key as text"));
        }
        if self.open.len() >= DEPTH_MAX {
            let message = format!("lists and maps are nested deeper than {DEPTH_MAX}, expected a flatter file");
            return Err(self.fault(FaultCode::TooLarge, at, message));
        }
        self.open.push((node, None));
        Ok(())
    }

    fn close(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Node { inner: Inner::List(nodes), .. }, _)) => nodes.push(node),
            Some((Node { inner: Inner::Map(entries), .. }, key)) => {
                if let Some((key, key_place)) = key.take() {
                    entries.push(Entry { key, key_place, value: node });
                }
            }
            Some((Node { inner: Inner::Scalar, .. }, _)) => {}
        }
        Ok(())
    }

    fn count(&mut self, at: Place) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.fault(FaultCode::TooLarge, at, format!("more than {NODES_MAX} values, expected fewer")));
        }
        Ok(())
    }

    fn check_tag(&self, own: bool, at: Place) -> Result<(), Fault> {
        match own {
            true => Err(self.refuse(at, "tags are not allowed, expected a plain value", "remove the `!` tag")),
            false => Ok(()),
        }
    }

    fn refuse(&self, at: Place, message: &str, hint: &str) -> Fault {
        Fault { hint: Some(hint.to_owned()), ..self.fault(FaultCode::Unsupported, at, message.to_owned()) }
    }

    fn fault(&self, code: FaultCode, at: Place, message: String) -> Fault {
        Fault { path: self.path(), ..new_fault(code, at, message) }
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        let steps = self.open.iter().filter_map(|(node, key)| match &node.inner {
            Inner::List(nodes) => Some(Step::Index(nodes.len())),
            _ => key.as_ref().map(|(key, _)| Step::Key(key.clone())),
        });
        path_text(&steps.collect::<Vec<_>>())
    }
}

fn new_fault(code: FaultCode, at: Place, message: String) -> Fault {
    Fault { code, path: String::new(), line: at.line, column: at.column, message, hint: None }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(FaultCode, String, usize, usize)> {
        let faults = scan(text).expect_err("refused");
        faults.into_iter().map(|fault| (fault.code, fault.path, fault.line, fault.column)).collect()
    }

    #[test]
    fn finds_the_place_of_a_key_and_of_the_nearest_value_around_a_missing_one() {
        let root = scan("a:\n  - b: 1\n    c: 2\n").expect("reads");
        let step = |key: &str| Step::Key(key.to_owned());
        assert_eq!(root.place(&[step("a"), Step::Index(0), step("c")]), Place { line: 3, column: 5 });
        assert_eq!(root.place(&[step("a"), Step::Index(0), step("x")]), Place { line: 2, column: 5 });
        assert_eq!(root.place(&[step("x")]), Place { line: 1, column: 1 });
    }

    #[test]
    fn refuses_what_yaml_allows_and_a_manifest_does_not_need() {
        assert_eq!(faults("a: &x 1\nb: *x\n"), [(FaultCode::Unsupported, "b".to_owned(), 2, 4)]);
        assert_eq!(faults("a: !own 1\n")[0].0, FaultCode::Unsupported);
        assert_eq!(faults("a: 1\n---\nb: 1\n")[0].0, FaultCode::Unsupported);
        assert_eq!(faults("? [a]\n: 1\n")[0].0, FaultCode::Unsupported);
        assert_eq!(faults("a: [1\n")[0].0, FaultCode::Syntax);
        assert_eq!(faults("")[0].0, FaultCode::Syntax);
        assert_eq!(faults("# only a comment\n")[0].0, FaultCode::Syntax);
    }

    #[test]
    fn repeated_keys_are_all_listed_with_both_lines() {
        let found = scan("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").expect_err("refused");
        assert_eq!(
            found.iter().map(|fault| (&*fault.path, &*fault.message)).collect::<Vec<_>>(),
            [("b.c", "`c` is given twice, first in line 3"), ("a", "`a` is given twice, first in line 1")]
        );
    }

    #[test]
    fn bounds_hold_at_their_edge() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(scan(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(faults(&nested(DEPTH_MAX + 1))[0].0, FaultCode::TooLarge);
        let list = |count: usize| format!("[{}]", "1,".repeat(count));
        assert!(scan(&list(NODES_MAX - 1)).is_ok());
        assert_eq!(faults(&list(NODES_MAX))[0].0, FaultCode::TooLarge);
        let padded = |bytes: usize| format!("a: 1\n#{}", "x".repeat(bytes - 6));
        assert!(scan(&padded(BYTES_MAX)).is_ok());
        assert_eq!(faults(&padded(BYTES_MAX + 1))[0].0, FaultCode::TooLarge);
        assert!(faults(&"a: 1\n".repeat(1000)).len() <= FAULTS_MAX + 1);
    }
}
