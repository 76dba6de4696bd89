//! Pure values: grammar and length are checked once, where text enters, and never again inside.
//!
//! Owns the words that every other module speaks (digest, repository name, tag, reference, media type, ranges,
//! pages, ids, names of items). Must not do input or output, and imports nothing of this crate.
//!
//! `names` has the names that people type.

mod asked;
mod digest;
mod ids;
mod item;
mod kind;
mod media_type;
mod names;
mod net;
mod outage;
mod remedy;
mod text;
mod visible;

use asked::{page, range};
pub use attached::AttachedTag;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use ids::{JobId, RepoId, Rev, ScheduleId, UploadId, wall_ms};
pub use item::{Class, Counted, Facts, Form, ItemName, Name};
pub use kind::{Kind, KindError};
pub use media_type::{MediaType, MediaTypeError};
pub use moment::Moment;
pub use name::{NameError, Reference, RepoName, Tag};
pub(crate) use names::moment;
use names::{attached, name, path, pattern, title};
pub use net::net;
pub use outage::Outage;
pub use page::{PageError, PageRequest};
pub use path::{FilePath, Folder, PathError};
pub use pattern::RepoPattern;
pub use range::{ByteRange, ByteRanges, ContentRange, RangeError, Span};
pub use remedy::Remedy;
pub(crate) use text::as_text;
pub use title::{Title, TitleError};
pub use visible::{visible, visible_json, visible_line};
