//! YAML text to a tree in which every key and value knows its place.
//!
//! Built from the parser's events, not from a ready-made tree: duplicate keys must all be reported, aliases must be
//! bounded, and whether a scalar was quoted decides how a variable in it is read.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Value;

use crate::error::Code;
use crate::units::{CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};

/// A place in the text. Offsets and columns count characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// First character, from 0.
    pub start: usize,
    /// One after the last character.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A scalar's text, and whether it was written without quotes and without a tag.
    Scalar {
        text: String,
        plain: bool,
        value: Value,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(String, At, Node)>),
}

/// A mistake in the text itself.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) at: At,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(code: Code, at: At, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), help: None }
    }
}

/// A collection that is not closed yet.
struct Frame {
    at: At,
    anchor: usize,
    open: Open,
}

enum Open {
    Sequence(Vec<Node>),
    Mapping(Vec<(String, At, Node)>, Option<(String, At)>),
}

#[derive(Default)]
struct Builder {
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

/// Reads one document. Duplicate keys are reported and the first one is kept; any other mistake ends the reading.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, at(&span)),
            Err(error) => {
                let marker = error.marker();
                // At the end of a text with wide characters the parser has counted too far.
                let last = text.chars().count();
                let at = At {
                    start: marker.index().min(last),
                    end: marker.index().min(last) + 1,
                    line: marker.line(),
                    column: marker.col() + 1,
                };
                let mut fault = Fault::new(Code::C002, at, error.info());
                let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
                // A `{` opens a mapping there: the commonest surprise of variables in YAML.
                fault.help =
                    line.contains("${").then(|| "within `{ }` or `[ ]`, quote it: `\"${NAME}\"`".to_owned());
                Err(fault)
            }
        };
        if let Err(fault) = step {
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

/// The value of an unquoted scalar.
pub(super) fn resolve_plain(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    from_scalar(&saphyr::Scalar::parse_from_cow(text.into()), text)
}

fn from_scalar(scalar: &saphyr::Scalar<'_>, text: &str) -> Value {
    match scalar {
        saphyr::Scalar::Null => Value::Null,
        saphyr::Scalar::Boolean(b) => Value::Bool(*b),
        saphyr::Scalar::Integer(i) => Value::from(*i),
        // A whole number that is too large to be one: a float would lose its last digits without a word. As text it
        // keeps them, and where a number is needed that is said.
        saphyr::Scalar::FloatingPoint(_)
            if text.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()) =>
        {
            text.parse().map_or_else(|_| Value::String(text.to_owned()), |n: u64| Value::from(n))
        }
        saphyr::Scalar::FloatingPoint(f) => {
            serde_json::Number::from_f64(**f).map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        saphyr::Scalar::String(s) => Value::String(s.clone().into_owned()),
    }
}

fn at(span: &Span) -> At {
    At {
        start: span.start.index(),
        end: span.end.index(),
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: At) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Fault::new(
                        Code::C002,
                        at,
                        "a second YAML document begins here; a file holds one",
                    ));
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some((node, size)) => {
                    self.count(size, at)?;
                    self.add(Node { at, ..node }, 0)
                }
                None => Err(Fault::new(Code::C002, at, "this alias stands within its own anchor")),
            },
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let scalar = saphyr::Scalar::parse_from_cow_and_metadata(text.clone(), style, tag.as_ref())
                    .ok_or_else(|| Fault::new(Code::C005, at, "the value does not fit its tag"))?;
                let value = from_scalar(&scalar, &text);
                let plain = style == ScalarStyle::Plain && tag.is_none();
                self.add(Node { at, kind: Kind::Scalar { text: text.into_owned(), plain, value } }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(at, anchor, Open::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(at, anchor, Open::Mapping(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
        }
    }

    fn count(&mut self, nodes: usize, at: At) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > CONFIG_NODES_MAX {
            let message = format!("more than {CONFIG_NODES_MAX} values, aliases included");
            return Err(Fault::new(Code::C002, at, message));
        }
        Ok(())
    }

    fn open(&mut self, at: At, anchor: usize, open: Open) -> Result<(), Fault> {
        self.count(1, at)?;
        if self.frames.len() >= CONFIG_DEPTH_MAX {
            return Err(Fault::new(Code::C002, at, format!("nested deeper than {CONFIG_DEPTH_MAX} levels")));
        }
        self.frames.push(Frame { at, anchor, open });
        Ok(())
    }

    fn close(&mut self, end: At) -> Result<(), Fault> {
        let Some(frame) = self.frames.pop() else {
            return Err(Fault::new(Code::C002, end, "a collection ends that did not begin"));
        };
        let kind = match frame.open {
            Open::Sequence(items) => Kind::Sequence(items),
            Open::Mapping(entries, _) => Kind::Mapping(entries),
        };
        self.add(Node { at: At { end: end.end.max(frame.at.end), ..frame.at }, kind }, frame.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            let size = size(&node);
            // The anchors keep copies of their own, so what they hold counts too.
            self.count(size, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.frames.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::Sequence(items)) => items.push(node),
            Some(Open::Mapping(entries, key)) => match key.take() {
                None => match node.kind {
                    Kind::Scalar { text, .. } => *key = Some((text, node.at)),
                    _ => {
                        return Err(Fault::new(
                            Code::C002,
                            node.at,
                            "a key must be a single word, not a collection",
                        ));
                    }
                },
                Some((name, place)) => match entries.iter().find(|(other, ..)| *other == name) {
                    Some((_, first, _)) => {
                        let mut fault = Fault::new(Code::C007, place, format!("`{name}` is given twice"));
                        fault.help = Some(format!("the first is in line {}; keep one of them", first.line));
                        self.faults.push(fault);
                    }
                    None => entries.push((name, place, node)),
                },
            },
        }
        Ok(())
    }
}

/// Nodes of a tree; its depth is bounded by `CONFIG_DEPTH_MAX` only until an alias is put below another node, so the
/// walk keeps its own stack.
fn size(node: &Node) -> usize {
    let mut todo = vec![node];
    let mut size = 0;
    while let Some(node) = todo.pop() {
        size += 1;
        match &node.kind {
            Kind::Scalar { .. } => {}
            Kind::Sequence(items) => todo.extend(items),
            Kind::Mapping(entries) => todo.extend(entries.iter().map(|(_, _, node)| node)),
        }
    }
    size
}
