//! The header `tracestate`: what the tracing systems along the way have to say to each other.
//!
//! Of <https://www.w3.org/TR/trace-context-2/#tracestate-header>. Knows nothing of spans.

use std::{
    fmt,
    hash::{Hash, Hasher},
    ptr::NonNull,
    sync::Arc,
};

/// The most members of a list.
const MOST: usize = 32;

/// The longest key, and the longest value.
const LONGEST: usize = 256;

/// What tracing systems along the way have said of a trace: a list of `key=value`.
///
/// It is passed on as it came. Cloning it is cheap.
///
/// This is an `Arc<Box<str>>` as a raw pointer, whose rare clones and drops take it by value: so
/// the spans that have none can be in registers.
#[repr(transparent)]
pub struct TraceState(NonNull<Box<str>>);

/// The pointer of a share, or none.
pub(super) type RawState = Option<NonNull<Box<str>>>;

// SAFETY: It is an `Arc<Box<str>>`, which may be sent and shared.
unsafe impl Send for TraceState {}

// SAFETY: As above.
unsafe impl Sync for TraceState {}

impl TraceState {
    /// Reads a header, or several ones joined by commas.
    ///
    /// None if it is empty, or breaks the rules, in which case the whole of it is to be ignored.
    pub fn parse(header: &str) -> Option<Self> {
        let trimmed = header
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']));
        let members: Vec<&str> = trimmed.filter(|member| !member.is_empty()).collect();
        if members.is_empty() || members.len() > MOST {
            return None;
        }
        let mut keys = Vec::with_capacity(members.len());
        for member in &members {
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || keys.contains(&key) {
                return None;
            }
            keys.push(key);
        }
        Some(Self::new(members.join(",").into()))
    }

    fn new(list: Box<str>) -> Self {
        let raw = Arc::into_raw(Arc::new(list)).cast_mut();
        Self(NonNull::new(raw).expect("an Arc's pointer is not null"))
    }

    /// A new share of a state, if there is one.
    #[inline]
    pub(super) fn share(state: Option<&Self>) -> RawState {
        let list = state?.0;
        share(list);
        Some(list)
    }

    /// Gives up a share.
    ///
    /// # Safety
    ///
    /// It is one of [`Self::share`], which is not used again.
    #[inline]
    pub(super) unsafe fn release(state: RawState) {
        if let Some(list) = state {
            release(list);
        }
    }

    /// # Safety
    ///
    /// It is one of [`Self::share`], which is not used again.
    pub(super) unsafe fn from_raw(state: RawState) -> Option<Self> {
        state.map(Self)
    }

    /// # Safety
    ///
    /// It is one of [`Self::share`], which is not given up as long as it is borrowed.
    #[inline]
    pub(super) unsafe fn borrow(state: &RawState) -> Option<&Self> {
        let list = state.as_ref()?;
        // SAFETY: A state is this pointer and nothing else.
        Some(unsafe { &*std::ptr::from_ref(list).cast::<Self>() })
    }

    /// The header.
    pub fn as_str(&self) -> &str {
        // SAFETY: The pointer is that of an `Arc`, of which this value has a share.
        unsafe { self.0.as_ref() }
    }

    /// What the system of this key has said.
    pub fn get(&self, key: &str) -> Option<&str> {
        let members = self
            .as_str()
            .split(',')
            .filter_map(|member| member.split_once('='));
        members
            .into_iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }
}

fn is_key(key: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = key.as_bytes();
    bytes.len() <= LONGEST
        && bytes.first().is_some_and(|first| is_letter(*first))
        && bytes
            .iter()
            .all(|byte| is_letter(*byte) || b"_-*/@".contains(byte))
}

/// The value's blanks at the end were trimmed, as they are no part of it.
fn is_value(value: &str) -> bool {
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    (1..=LONGEST).contains(&value.len()) && value.bytes().all(is_allowed)
}

impl Clone for TraceState {
    #[inline]
    fn clone(&self) -> Self {
        share(self.0);
        Self(self.0)
    }
}

impl Drop for TraceState {
    #[inline]
    fn drop(&mut self) {
        release(self.0);
    }
}

#[cold]
#[inline(never)]
fn share(list: NonNull<Box<str>>) {
    // SAFETY: The pointer is that of an `Arc`, of which the caller has a share.
    unsafe { Arc::increment_strong_count(list.as_ptr()) };
}

#[cold]
#[inline(never)]
fn release(list: NonNull<Box<str>>) {
    // SAFETY: The pointer is that of an `Arc`, of which the caller gives up a share.
    unsafe { Arc::decrement_strong_count(list.as_ptr()) };
}

impl PartialEq for TraceState {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TraceState {}

impl Hash for TraceState {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, want: Option<&str>) {
        let state = TraceState::parse(header);
        assert_eq!(state.as_ref().map(TraceState::as_str), want, "{header:?}");
    }

    #[test]
    fn lists_are_read_by_the_rules() {
        check("a=1", Some("a=1"));
        check(" a=1 ,\tb@c=x y , ,", Some("a=1,b@c=x y"));
        check("0a_-*/=!", Some("0a_-*/=!"));
        for refused in [
            "", " , ", "a", "a=", "=1", "A=1", "a=1,a=2", "a=1=2", "a=\u{e9}", "_a=1", "a =1",
            "a=1\n",
        ] {
            check(refused, None);
        }
        let member = |n: usize| format!("k{n}=v");
        let list = |count| (0..count).map(member).collect::<Vec<_>>().join(",");
        check(&list(32), Some(&list(32)));
        check(&list(33), None);
        let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
        check(&long(256, 256), Some(&long(256, 256)));
        check(&long(257, 1), None);
        check(&long(1, 257), None);
    }

    #[test]
    fn members_are_found() {
        let state = TraceState::parse("ot=th:8,b=2").unwrap();
        assert_eq!(state.get("ot"), Some("th:8"));
        assert_eq!(state.get("b"), Some("2"));
        assert_eq!(state.get("c"), None);
    }
}
