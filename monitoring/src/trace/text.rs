//! A name in one word, so that a span is two cache lines and a tag costs two stores.
//!
//! Knows nothing of what the text says.

use std::{borrow::Cow, fmt, marker::PhantomData, ptr};

/// The bit of a text that is owned. A `String` stands where the address is a multiple of its
/// alignment, so that no box has the bit.
const OWNED: usize = 1;

const _: () = assert!(align_of::<String>() > OWNED);

/// Where the length of a static text stands.
const LENGTH_SHIFT: u32 = 1;

/// Where the address of a static text stands, above its length.
const ADDRESS_SHIFT: u32 = 16;

/// The bits that addresses have. Linux hands out higher ones only to those who ask for them; systems
/// that check memory keep tags above them, and a static text that has one is copied.
const ADDRESS_BITS: u32 = usize::BITS - ADDRESS_SHIFT;

/// The longest static text whose length fits.
const LONGEST: usize = (1 << (ADDRESS_SHIFT - LENGTH_SHIFT)) - 1;

const _: () = assert!(
    usize::BITS == 64,
    "a length fits beside an address of 64 bits only"
);

/// A text that is static or owned.
///
/// Null is the empty text. With the bit [`OWNED`] it is the address of a boxed `String`, with all of
/// its bits, else that of a static text, with its length below.
#[repr(transparent)]
pub(super) struct Text(Word, PhantomData<Cow<'static, str>>);

/// A pointer whose type is known by what it was made from.
pub(super) type Word = *mut ();

// SAFETY: It is a `&'static str` or a `Box<String>`, and both may be sent and shared.
unsafe impl Send for Text {}

// SAFETY: As above.
unsafe impl Sync for Text {}

impl Text {
    pub(super) const EMPTY: Self = Self(ptr::null_mut(), PhantomData);

    #[inline]
    pub(super) fn new(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::from_static(text),
            Cow::Owned(text) => Self::from_string(text),
        }
    }

    #[inline]
    fn from_static(text: &'static str) -> Self {
        let address = text.as_ptr().cast_mut().cast::<()>();
        let length = text.len();
        if length == 0 {
            return Self::EMPTY;
        }
        if length > LONGEST || address.addr() >> ADDRESS_BITS != 0 {
            return Self::copied(text);
        }
        let packed = address.map_addr(|address| address << ADDRESS_SHIFT | length << LENGTH_SHIFT);
        Self(packed, PhantomData)
    }

    #[cold]
    #[inline(never)]
    fn copied(text: &str) -> Self {
        Self::from_string(text.to_owned())
    }

    #[inline(never)]
    fn from_string(text: String) -> Self {
        if text.is_empty() {
            return Self::EMPTY;
        }
        Self(word_of(Box::into_raw(Box::new(text))), PhantomData)
    }

    pub(super) fn as_str(&self) -> &str {
        if self.is_owned() {
            // SAFETY: `from_string` has leaked this box, and only dropping this value frees it.
            return unsafe { &*string_of(self.0) };
        }
        if self.0.is_null() {
            return "";
        }
        let length = self.0.addr() >> LENGTH_SHIFT & LONGEST;
        let address = self.0.map_addr(|packed| packed >> ADDRESS_SHIFT);
        // SAFETY: `from_static` packed the address and length of a text that is never freed.
        unsafe { str::from_utf8_unchecked(std::slice::from_raw_parts(address.cast(), length)) }
    }

    /// The text itself, of which only an owned one is taken out of its box.
    pub(super) fn into_cow(self) -> Cow<'static, str> {
        if self.is_owned() {
            // SAFETY: The word is a box of `from_string`, and `into_raw` gives it away.
            return Cow::Owned(*unsafe { Box::from_raw(string_of(self.into_raw())) });
        }
        // SAFETY: What is not owned is static.
        Cow::Borrowed(unsafe { &*ptr::from_ref(self.as_str()) })
    }

    /// The word, which keeps what it owns until it is given to [`Self::from_raw`].
    #[inline]
    pub(super) fn into_raw(self) -> Word {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }

    /// # Safety
    ///
    /// The word is one of [`Self::into_raw`], and is used for one text only.
    #[inline]
    pub(super) unsafe fn from_raw(raw: Word) -> Self {
        Self(raw, PhantomData)
    }

    #[inline]
    fn is_owned(&self) -> bool {
        is_owned(self.0)
    }
}

#[inline]
fn is_owned(word: Word) -> bool {
    word.addr() & OWNED != 0
}

/// The word of a boxed text.
fn word_of(owned: *mut String) -> Word {
    owned.map_addr(|address| address | OWNED).cast()
}

/// The boxed text of a word that is one.
fn string_of(word: Word) -> *mut String {
    word.map_addr(|address| address & !OWNED).cast()
}

/// Frees an owned text. It takes the word by value, so that whoever has a text can have it in a
/// register.
#[cold]
#[inline(never)]
fn free(owned: Word) {
    // SAFETY: The word is a box of `from_string`, and dropping happens once.
    drop(unsafe { Box::from_raw(string_of(owned)) });
}

impl Drop for Text {
    #[inline]
    fn drop(&mut self) {
        if self.is_owned() {
            free(self.0);
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: impl Into<Cow<'static, str>>, want: &str, is_owned: bool) {
        let packed = Text::new(text.into());
        assert_eq!(packed.as_str(), want);
        assert_eq!(packed.is_owned(), is_owned, "{want}");
        // SAFETY: The word is that of this very text.
        let again = unsafe { Text::from_raw(packed.into_raw()) };
        assert_eq!(again.as_str(), want);
    }

    #[test]
    fn texts_are_what_they_were() {
        check("", "", false);
        check("a", "a", false);
        check("höher", "höher", false);
        check(String::new(), "", false);
        check(String::from("owned"), "owned", true);
        let long: &'static str = "x".repeat(LONGEST).leak();
        check(long, long, false);
        let longer: &'static str = "x".repeat(LONGEST + 1).leak();
        check(longer, longer, true);
    }

    #[test]
    fn addresses_of_boxes_keep_all_of_their_bits() {
        // As arm64 has them with memory tags, and as they are without.
        for address in [0xb4ff_ffff_1234_5678, 0x0000_7f00_1234_5670, usize::MAX - 7] {
            let owned: *mut String = ptr::without_provenance_mut(address);
            let word = word_of(owned);
            assert!(is_owned(word));
            assert_eq!(string_of(word), owned);
        }
    }

    #[test]
    fn static_texts_may_be_anywhere() {
        // The lowest bits of an address are part of it.
        const BYTES: &str = "0123456789abcdef";
        for start in 0..BYTES.len() {
            check(&BYTES[start..], &BYTES[start..], false);
        }
    }
}
