//! What is kept of one span, in two cache lines: the first is the span itself, the second its first
//! four tags. What has no room there is in a box, which takes the place of the fourth tag.
//!
//! Knows nothing of threads and buffers.

mod full;

use std::{
    borrow::Cow,
    mem::{self, MaybeUninit},
    ptr,
};

use super::{
    context::TraceFlags,
    finished::{Event, Link, SpanKind, Status},
    ids::{SpanId, TraceId},
    tag::{Tag, TagValue},
    text::{Text, Word},
    tracestate::TraceState,
};

/// The most keys of tags, events and links that a span keeps of each: what OpenTelemetry's kits
/// keep.
pub(super) const MOST: usize = 128;

/// Tags within a record.
const SLOTS: usize = 4;

/// The slot where the box is, if there is one.
const BOX_SLOT: usize = SLOTS - 1;

/// The parent is a span of another process. This bit and the next one are no flags of a trace.
const REMOTE_PARENT: u8 = 1 << 7;

/// There is a box.
const BOXED: u8 = 1 << 6;

/// One span, from its start until it is sent.
#[repr(C, align(64))]
pub(super) struct Record {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// Invalid if the span is a root.
    pub(super) parent_id: SpanId,
    /// In ticks, until the record is read; then in nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    name: Text,
    /// The flags of the trace, and the bits above.
    flags: u8,
    pub(super) kind: SpanKind,
    status: StatusCode,
    /// How many slots are tags.
    filled: u8,
    types: [Type; SLOTS],
    slots: [Slot; SLOTS],
}

const _: () = assert!(size_of::<Record>() == 128);

// SAFETY: Its words are texts and the box, which it owns and which may be sent and shared.
unsafe impl Send for Record {}

// SAFETY: As above.
unsafe impl Sync for Record {}

/// What is said of a span's trace and of its parent.
#[derive(Clone, Copy)]
pub(super) struct Origin(u8);

impl Origin {
    #[inline]
    pub(super) fn new(flags: TraceFlags, parent_is_remote: bool) -> Self {
        Self(flags.bits() | if parent_is_remote { REMOTE_PARENT } else { 0 })
    }
}

/// A key and a value, or nothing and the box.
type Slot = [MaybeUninit<Word>; 2];

/// What the value in a slot is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Type {
    Text,
    Int,
    Float,
    Bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum StatusCode {
    Unset,
    Ok,
    Error,
}

/// What has no room in a record.
#[derive(Debug, Default)]
pub(super) struct Rest {
    tags: Vec<Tag>,
    /// There are as many tags as may be, and each has another key.
    has_all_keys: bool,
    pub(super) events: Vec<Event>,
    pub(super) links: Vec<Link>,
    /// Why the span has failed, if it has.
    message: Cow<'static, str>,
    /// The state of the trace, as the parent gave it.
    pub(super) trace_state: Option<TraceState>,
    pub(super) dropped_tags: u32,
    pub(super) dropped_events: u32,
    pub(super) dropped_links: u32,
}

impl Record {
    #[inline]
    pub(super) fn begin(
        trace_id: TraceId,
        span_id: SpanId,
        parent_id: SpanId,
        origin: Origin,
        name: Text,
        start: u64,
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent_id,
            start,
            end: 0,
            name,
            flags: origin.0,
            kind: SpanKind::Internal,
            status: StatusCode::Unset,
            filled: 0,
            types: [Type::Text; SLOTS],
            slots: [[MaybeUninit::uninit(); 2]; SLOTS],
        }
    }

    /// Places the span in the trace of another parent.
    #[inline]
    pub(super) fn adopt(&mut self, trace_id: TraceId, parent_id: SpanId, origin: Origin) {
        self.trace_id = trace_id;
        self.parent_id = parent_id;
        self.flags = self.flags & BOXED | origin.0;
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn take_name(&mut self) -> Text {
        mem::replace(&mut self.name, Text::EMPTY)
    }

    /// The flags of the trace.
    pub(super) fn flags(&self) -> u8 {
        self.flags & !(REMOTE_PARENT | BOXED)
    }

    pub(super) fn parent_is_remote(&self) -> bool {
        self.flags & REMOTE_PARENT != 0
    }

    #[inline]
    pub(super) fn push_tag(&mut self, key: Cow<'static, str>, value: TagValue<'static>) {
        let slot = usize::from(self.filled);
        if slot < BOX_SLOT || (slot == BOX_SLOT && self.flags & BOXED == 0) {
            self.fill(slot, key, value);
        } else {
            self.push_more(key, value);
        }
    }

    #[inline]
    fn fill(&mut self, slot: usize, key: Cow<'static, str>, value: TagValue<'static>) {
        let (type_, word) = type_and_word(value);
        let key = Text::new(key).into_raw();
        self.slots[slot] = [MaybeUninit::new(key), MaybeUninit::new(word)];
        self.types[slot] = type_;
        self.filled += 1;
    }

    /// Tags that were set on a span when it was not known yet that it would be recorded.
    #[cold]
    pub(super) fn lose_tags(&mut self, count: u32) {
        let rest = self.rest_mut();
        rest.dropped_tags = rest.dropped_tags.saturating_add(count);
    }

    /// Its tags, in the order in which they were set; of several with one key, the last one. Those
    /// that were set again when there was no more room stand where they stood before.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&str, TagValue<'_>)> {
        let count = self.tag_count();
        (0..count).filter_map(move |at| {
            let key = self.key(at);
            let is_last = (at + 1..count).all(|later| self.key(later) != key);
            is_last.then(|| (key, self.value(at)))
        })
    }

    fn tag_count(&self) -> usize {
        usize::from(self.filled) + self.rest().map_or(0, |rest| rest.tags.len())
    }

    fn key(&self, at: usize) -> &str {
        match at.checked_sub(self.filled.into()) {
            Some(more) => &self.rest().expect("more tags are in the box").tags[more].key,
            // SAFETY: `fill` has put a text there, which is borrowed as long as the record.
            None => unsafe { text_in(&self.slots[at][0]) },
        }
    }

    fn value(&self, at: usize) -> TagValue<'_> {
        if let Some(more) = at.checked_sub(self.filled.into()) {
            let rest = self.rest().expect("more tags are in the box");
            return rest.tags[more].value.borrowed();
        }
        let word = &self.slots[at][1];
        if self.types[at] == Type::Text {
            // SAFETY: By its type it is a text, which is borrowed as long as the record.
            return TagValue::Text(Cow::Borrowed(unsafe { text_in(word) }));
        }
        // SAFETY: `fill` has written the slots that are counted as filled.
        let bits = unsafe { word.assume_init() }.addr() as u64;
        match self.types[at] {
            Type::Text | Type::Int => TagValue::Int(bits.cast_signed()),
            Type::Float => TagValue::Float(f64::from_bits(bits)),
            Type::Bool => TagValue::Bool(bits != 0),
        }
    }

    pub(super) fn push_event(&mut self, event: Event) {
        let rest = self.rest_mut();
        if rest.events.len() < MOST {
            rest.events.push(event);
        } else {
            rest.dropped_events = rest.dropped_events.saturating_add(1);
        }
    }

    pub(super) fn push_link(&mut self, link: Link) {
        let rest = self.rest_mut();
        if rest.links.len() < MOST {
            rest.links.push(link);
        } else {
            rest.dropped_links = rest.dropped_links.saturating_add(1);
        }
    }

    /// Sets the status, unless that is better known already: a span that is said to be in order
    /// stays so, and an error is not taken back by unsetting it.
    pub(super) fn set_status(&mut self, status: Status) {
        match (self.status, status) {
            (StatusCode::Ok, _) | (_, Status::Unset) => {}
            (_, Status::Ok) => self.status = StatusCode::Ok,
            (_, Status::Error(message)) => {
                self.status = StatusCode::Error;
                if !message.is_empty() {
                    self.rest_mut().message = message;
                }
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        match self.status {
            StatusCode::Unset => Status::Unset,
            StatusCode::Ok => Status::Ok,
            StatusCode::Error => {
                let message = self.rest().map(|rest| rest.message.clone());
                Status::Error(message.unwrap_or_default())
            }
        }
    }

    /// The box, if there is one.
    pub(super) fn rest(&self) -> Option<&Rest> {
        if self.flags & BOXED == 0 {
            return None;
        }
        // SAFETY: By the flag the slot has the box, which the record owns.
        Some(unsafe { &*self.slots[BOX_SLOT][1].assume_init().cast::<Rest>() })
    }

    /// The box, if there is one.
    pub(super) fn rest_if_any(&mut self) -> Option<&mut Rest> {
        (self.flags & BOXED != 0).then(|| self.rest_mut())
    }

    /// The box, which is made if there is none.
    pub(super) fn rest_mut(&mut self) -> &mut Rest {
        if self.flags & BOXED == 0 {
            self.make_box();
        }
        // SAFETY: By the flag the slot has the box, which the record owns.
        unsafe { &mut *self.slots[BOX_SLOT][1].assume_init().cast::<Rest>() }
    }

    #[cold]
    fn make_box(&mut self) {
        let mut rest = Box::<Rest>::default();
        if usize::from(self.filled) == SLOTS {
            self.filled -= 1;
            let [key, value] = self.slots[BOX_SLOT];
            // SAFETY: The slot is filled, and is no longer counted as such.
            rest.tags
                .push(unsafe { tag_of(key, value, self.types[BOX_SLOT]) });
        }
        let rest = MaybeUninit::new(Box::into_raw(rest).cast());
        self.slots[BOX_SLOT] = [MaybeUninit::uninit(), rest];
        self.flags |= BOXED;
    }

    /// Frees what the record owns. Most own nothing: their texts are static.
    fn free(&mut self) {
        if self.flags & BOXED != 0 {
            // SAFETY: By the flag the slot has the box, and a record is freed once.
            drop(unsafe { Box::from_raw(self.slots[BOX_SLOT][1].assume_init().cast::<Rest>()) });
        }
        for slot in 0..usize::from(self.filled) {
            let [key, value] = self.slots[slot];
            // SAFETY: Slots up to `filled` have a key, and texts where the type says so; a record
            // is freed once.
            unsafe {
                drop(Text::from_raw(key.assume_init()));
                if self.types[slot] == Type::Text {
                    drop(Text::from_raw(value.assume_init()));
                }
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.free();
    }
}

#[inline]
fn type_and_word(value: TagValue<'static>) -> (Type, Word) {
    match value {
        TagValue::Text(text) => (Type::Text, Text::new(text).into_raw()),
        TagValue::Int(number) => (Type::Int, word_of(number.cast_unsigned())),
        TagValue::Float(number) => (Type::Float, word_of(number.to_bits())),
        TagValue::Bool(truth) => (Type::Bool, word_of(truth.into())),
    }
}

#[inline]
fn word_of(bits: u64) -> Word {
    // Words have 64 bits here, as `text` demands.
    #[expect(clippy::cast_possible_truncation, reason = "as above")]
    ptr::without_provenance_mut(bits as usize)
}

/// # Safety
///
/// The word is a text.
unsafe fn text_in(word: &MaybeUninit<Word>) -> &str {
    // SAFETY: A text is one word, so that a reference to the word is one to a text.
    unsafe { &*ptr::from_ref(word).cast::<Text>() }.as_str()
}

/// # Safety
///
/// The words are the key and the value of a slot, which are not used again.
unsafe fn tag_of(key: MaybeUninit<Word>, value: MaybeUninit<Word>, type_: Type) -> Tag {
    // SAFETY: As the caller says.
    let (key, value) = unsafe { (Text::from_raw(key.assume_init()), value.assume_init()) };
    let bits = value.addr() as u64;
    let value = match type_ {
        // SAFETY: As the type says.
        Type::Text => TagValue::Text(unsafe { Text::from_raw(value) }.into_cow()),
        Type::Int => TagValue::Int(bits.cast_signed()),
        Type::Float => TagValue::Float(f64::from_bits(bits)),
        Type::Bool => TagValue::Bool(bits != 0),
    };
    Tag {
        key: key.into_cow(),
        value,
    }
}

#[cfg(test)]
mod tests;
