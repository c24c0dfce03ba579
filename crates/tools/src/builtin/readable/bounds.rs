//! Whether a page's markup can be laid out, found by the parser that the layout uses.
//!
//! Where an element ends is said by the parser's own rules, which a count of tags does not know: an
//! end tag may close nothing, or stand in a comment. So the page is parsed, without a tree being
//! kept, and left as soon as it is past a bound: on what is nested deeply the parser takes time that
//! grows with the square of it.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink as _};
use html5ever::{Attribute, ExpandedName, ParseOpts, QualName, local_name, ns, parse_document};

/// Deeper than real pages are (a few dozen) and far less than what the layout's stack holds.
pub(super) const DEPTH_MAX: usize = 512;

/// More than pages of the size that is fetched have; each costs the layout some hundred bytes.
pub(super) const ELEMENTS_MAX: usize = 500_000;

/// The bounds are looked at after this many bytes, in which nothing grows far beyond them.
const CHUNK_BYTES: usize = 4 << 10;

/// Says what there is too much of.
pub(super) fn check(html: &str) -> Result<(), String> {
    let mut parser = parse_document(Shape::new(), ParseOpts::default());
    let mut rest = html;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(rest.ceil_char_boundary(CHUNK_BYTES));
        parser.process(StrTendril::from(chunk));
        parser.tokenizer.sink.sink.fault().map_or(Ok(()), Err)?;
        rest = more;
    }
    parser.finish().map_or(Ok(()), Err)
}

/// A page as far as its bounds go.
struct Shape {
    document: Handle,
    deepest: Cell<usize>,
    elements: Cell<usize>,
}

type Handle = Rc<Node>;

struct Node {
    name: QualName,
    depth: Cell<usize>,
}

impl Node {
    fn new(name: QualName) -> Handle {
        Rc::new(Self { name, depth: Cell::new(0) })
    }
}

impl Shape {
    fn new() -> Self {
        let document = Node::new(QualName::new(None, ns!(), local_name!("")));
        Self { document, deepest: Cell::new(0), elements: Cell::new(0) }
    }

    fn fault(&self) -> Option<String> {
        if self.deepest.get() > DEPTH_MAX {
            return Some(format!("its elements are nested more than {DEPTH_MAX} levels deep"));
        }
        (self.elements.get() > ELEMENTS_MAX).then(|| format!("it has more than {ELEMENTS_MAX} elements"))
    }

    fn put(&self, child: NodeOrText<Handle>, depth: usize) {
        if let NodeOrText::AppendNode(node) = child {
            node.depth.set(depth);
            self.deepest.set(self.deepest.get().max(depth));
        }
    }
}

impl TreeSink for Shape {
    type Handle = Handle;
    type Output = Option<String>;
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) -> Option<String> {
        self.fault()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Handle {
        self.document.clone()
    }

    fn elem_name<'a>(&'a self, target: &'a Handle) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, _: ElementFlags) -> Handle {
        self.elements.set(self.elements.get() + 1);
        Node::new(name)
    }

    fn create_comment(&self, _: StrTendril) -> Handle {
        Node::new(self.document.name.clone())
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Handle {
        Node::new(self.document.name.clone())
    }

    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.put(child, parent.depth.get() + 1);
    }

    fn append_based_on_parent_node(&self, element: &Handle, above: &Handle, child: NodeOrText<Handle>) {
        self.put(child, element.depth.get().max(above.depth.get() + 1));
    }

    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        self.put(child, sibling.depth.get());
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    /// What is in a template is nested in it.
    fn get_template_contents(&self, target: &Handle) -> Handle {
        target.clone()
    }

    fn same_node(&self, one: &Handle, other: &Handle) -> bool {
        Rc::ptr_eq(one, other)
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn add_attrs_if_missing(&self, _: &Handle, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &Handle) {}

    /// The parser moves children one level down where it takes their parent one level up.
    fn reparent_children(&self, _: &Handle, _: &Handle) {}
}
