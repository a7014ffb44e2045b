//! Tags that have no room beside the span, and those of a span that has as many as it may have.
//!
//! Knows nothing of what a tag says.

use std::{
    borrow::Cow,
    mem::{self, MaybeUninit},
};

use super::{BOX_SLOT, MOST, Record, Type, tag_of, type_and_word};
use crate::trace::{
    tag::{Tag, TagValue},
    text::Text,
};

impl Record {
    /// Keeps a tag in the box, or in place of an earlier one of its key, or counts it as dropped.
    ///
    /// As long as there is room, all tags of a key are kept, so that none has to be looked for. The
    /// limit is one of keys: when the room is used up, tags that have a later one make room.
    #[cold]
    pub(super) fn push_more(&mut self, key: Cow<'static, str>, value: TagValue<'static>) {
        // The tag that gave its place to the box stands among the others in it.
        self.rest_mut();
        if self.tag_count() == MOST {
            if let Some(at) = (0..MOST).rfind(|at| self.key(*at) == key) {
                return self.replace(at, value);
            }
            if !self.rest_mut().has_all_keys {
                self.drop_replaced();
            }
        }
        let count = self.tag_count();
        let rest = self.rest_mut();
        if count < MOST {
            rest.tags.push(Tag { key, value });
        } else {
            rest.has_all_keys = true;
            rest.dropped_tags = rest.dropped_tags.saturating_add(1);
        }
    }

    /// Sets the value of a tag that there is.
    fn replace(&mut self, at: usize, value: TagValue<'static>) {
        if let Some(more) = at.checked_sub(self.filled.into()) {
            self.rest_mut().tags[more].value = value;
            return;
        }
        let (type_, word) = type_and_word(value);
        let old = mem::replace(&mut self.slots[at][1], MaybeUninit::new(word));
        if mem::replace(&mut self.types[at], type_) == Type::Text {
            // SAFETY: By its type it was a text, which is not in the slot any more.
            drop(unsafe { Text::from_raw(old.assume_init()) });
        }
    }

    /// Forgets the tags whose key has a later one.
    fn drop_replaced(&mut self) {
        let is_last: Vec<bool> = {
            let keys: Vec<&str> = (0..self.tag_count()).map(|at| self.key(at)).collect();
            let is_last = |at: usize| !keys[at + 1..].contains(&keys[at]);
            (0..keys.len()).map(is_last).collect()
        };
        let filled = mem::take(&mut self.filled);
        let mut tags: Vec<Tag> = Vec::with_capacity(MOST);
        for slot in 0..usize::from(filled) {
            let [key, value] = self.slots[slot];
            // SAFETY: The slot is filled, and is no longer counted as such.
            tags.push(unsafe { tag_of(key, value, self.types[slot]) });
        }
        tags.append(&mut self.rest_mut().tags);
        let mut is_last = is_last.into_iter();
        tags.retain(|_| is_last.next() == Some(true));
        let mut tags = tags.into_iter();
        for (slot, Tag { key, value }) in tags.by_ref().take(BOX_SLOT).enumerate() {
            self.fill(slot, key, value);
        }
        self.rest_mut().tags.extend(tags);
    }
}
