//! What an item or a reference is called: its class says what sort of name that is, and one table says what each class means.
//!
//! Owns the classes, their codes and facts, and names as (class, bytes). Knows no rows and no keys.

use super::digest::Digest;
use super::path::FilePath;
use std::fmt;

/// Class of an item or reference. The codes stand in keys and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A link: lets the repository show a blob. References only.
    Link = 0,
    /// A tag.
    Tag = 1,
    /// A manifest; as a reference: a live or past manifest needs the digest.
    Manifest = 2,
    /// A manifest names a digest that the repository does not have. Mentions only.
    Wanted = 3,
    /// A manifest's lease: until its end (the value) no lack of tags ends the manifest. Mentions only.
    Held = 4,
    /// How a manifest with a subject came. An empty value: as a part of an index; without one that lists it the subject alone
    /// does not keep it. Else when it was pushed for its own sake (running ms). Mentions only.
    Part = 5,
    /// A file at a path.
    Path = 6,
}

/// How the names of a class are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text.
    Text,
    /// A digest, in its key form.
    Digest,
}

/// Where the usage of a repository counts the live items of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Among the tags; its bytes are counted for what it means.
    Tags,
    /// Among the manifests, with its bytes.
    Manifests,
    /// Among the files, with its bytes.
    Files,
}

/// What is true of all items and references of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What people call one of them.
    pub word: &'static str,
    /// How items of it are named; none: it has no items, only references.
    pub name: Option<Form>,
    /// A reference of it keeps the bytes of its digest. What keeps none stands in a table of its own.
    pub keeps: bool,
    /// A live one lets the repository show the bytes that it means.
    pub shows: bool,
    /// Where its live items count.
    pub counted: Option<Counted>,
}

/// The table: one line a class, in the order of their codes.
const FACTS: [(Class, Facts); 7] = [
    (Class::Link, Facts::new("link", None, true, true, None)),
    (
        Class::Tag,
        Facts::new("tag", Some(Form::Text), true, false, Some(Counted::Tags)),
    ),
    (
        Class::Manifest,
        Facts::new(
            "manifest",
            Some(Form::Digest),
            true,
            true,
            Some(Counted::Manifests),
        ),
    ),
    (
        Class::Wanted,
        Facts::new("wanted digest", None, false, false, None),
    ),
    (Class::Held, Facts::new("lease", None, false, false, None)),
    (Class::Part, Facts::new("mark", None, false, false, None)),
    (
        Class::Path,
        Facts::new("file", Some(Form::Text), true, true, Some(Counted::Files)),
    ),
];

impl Facts {
    const fn new(
        word: &'static str,
        name: Option<Form>,
        keeps: bool,
        shows: bool,
        counted: Option<Counted>,
    ) -> Self {
        Self {
            word,
            name,
            keeps,
            shows,
            counted,
        }
    }
}

impl Class {
    /// Every class that items have.
    pub fn of_items() -> impl Iterator<Item = Self> {
        let items = FACTS.iter().filter(|(_, facts)| facts.name.is_some());
        items.map(|(class, _)| *class)
    }

    /// The class of a stored code; none for one that this version does not know.
    pub fn of(code: u8) -> Option<Self> {
        FACTS.get(usize::from(code)).map(|(class, _)| *class)
    }

    /// The code in keys.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What is true of it.
    pub fn facts(self) -> &'static Facts {
        // The table has a line for each code, in their order: a test says so.
        &FACTS[self as usize].1
    }
}

/// The name of an item, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    class: Class,
    bytes: &'a [u8],
}

impl<'a> Name<'a> {
    /// The name of a tag.
    pub fn tag(tag: &'a str) -> Self {
        Self::new(Class::Tag, tag.as_bytes())
    }

    /// The name of a manifest.
    pub fn manifest(digest: &'a Digest) -> Self {
        Self::new(Class::Manifest, digest.as_key())
    }

    /// The name of a file.
    pub fn path(path: &'a FilePath) -> Self {
        Self::new(Class::Path, path.as_str().as_bytes())
    }

    /// A name of any class, as its bytes stand in a key: a text without its end mark, or a digest's key form. The caller has
    /// read them by [`Facts::name`].
    pub fn new(class: Class, bytes: &'a [u8]) -> Self {
        Self { class, bytes }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The text, where its class has texts.
    pub fn as_text(&self) -> Option<&'a str> {
        let is_text = self.class.facts().name == Some(Form::Text);
        str::from_utf8(self.bytes).ok().filter(|_| is_text)
    }

    /// The tag, if it is one.
    pub fn as_tag(&self) -> Option<&'a str> {
        self.as_text().filter(|_| self.class == Class::Tag)
    }

    /// The manifest's digest, if it is one.
    pub fn as_manifest(&self) -> Option<Digest> {
        if self.class != Class::Manifest {
            return None;
        }
        Digest::from_key(self.bytes).ok()
    }

    /// The same, kept.
    pub fn to_owned(&self) -> ItemName {
        ItemName {
            class: self.class,
            bytes: self.bytes.to_vec(),
        }
    }
}

/// The item in words: `tag v1`, `manifest sha256:…`.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.class.facts().word;
        match self.class.facts().name {
            Some(Form::Digest) if let Ok(digest) = Digest::from_key(self.bytes) => {
                write!(f, "{word} {digest}")
            }
            _ => write!(f, "{word} {}", String::from_utf8_lossy(self.bytes)),
        }
    }
}

/// The name of an item, kept beyond the read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemName {
    class: Class,
    bytes: Vec<u8>,
}

impl ItemName {
    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        Name::new(self.class, &self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn the_table_has_a_line_for_each_code_in_their_order() {
        for (code, (class, facts)) in FACTS.iter().enumerate() {
            assert_eq!(usize::from(class.code()), code);
            assert_eq!(Class::of(class.code()), Some(*class));
            assert_eq!(class.facts(), facts);
            // What is counted is an item, and what only names a digest neither keeps nor shows it.
            assert!(facts.counted.is_none() || facts.name.is_some());
            assert!(facts.keeps || !facts.shows);
        }
        assert_eq!(Class::of(FACTS.len() as u8), None);
        assert!(Class::of_items().eq([Class::Tag, Class::Manifest, Class::Path]));
    }

    #[test]
    fn names_are_told_apart_by_their_class() {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let (tag, manifest) = (Name::tag("v1"), Name::manifest(&digest));
        assert_eq!((tag.as_tag(), tag.as_manifest()), (Some("v1"), None));
        assert_eq!(manifest.as_manifest(), Some(digest));
        assert_eq!((manifest.as_tag(), manifest.as_text()), (None, None));
        assert_eq!(tag.to_string(), "tag v1");
        assert_eq!(manifest.to_string(), format!("manifest {digest}"));
        assert_eq!(manifest.to_owned().as_name(), manifest);
    }
}
